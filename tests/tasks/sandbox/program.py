"""A program for workers that needs nothing but Python: it runs a few lines of code and returns what they leave."""

import os

ready = []


def prepare() -> None:
    """Leaves a mark that calls can see."""
    ready.append(os.getpid())


def judge(code: str, expected: object) -> dict[str, object]:
    """Whether the code leaves ``found`` as expected."""
    names: dict[str, object] = {"ready": ready}
    exec(code, names)
    return {"passed": names["found"] == expected, "found": names["found"]}
