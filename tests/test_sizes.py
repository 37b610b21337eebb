"""A file holds one idea, and a function can be called without counting: sizes of files, functions and parameters."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 400
MOST_LINES_OF_A_MAIN = 60
MOST_LINES_OF_A_FUNCTION = 60
"""Without its docstring."""
MOST_PARAMETERS = 7
A_WORD_WHY = {"parameters": "parameters: ", "lines": "lines: "}
"""Stands in a comment on the line of the ``def`` of a function that takes or has more."""


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many a caller sees."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    starred = [each for each in (given.vararg, given.kwarg) if each is not None]
    return len([each for each in (*named, *starred) if each.arg not in ("self", "cls")])


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From the first statement after the docstring to the end."""
    documented = ast.get_docstring(function) is not None and len(function.body) > 1
    return (function.end_lineno or 0) - function.body[int(documented)].lineno + 1


def too_large(source: str, name: str) -> Iterator[str]:
    """A sentence for every function that is."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            why = source.splitlines()[node.lineno - 1].partition("#")[2]
            count, length = parameters(node), lines(node)
            if count > MOST_PARAMETERS and A_WORD_WHY["parameters"] not in why:
                yield f"{name}: {node.name} takes {count} parameters: make a structure of some, or say why it must."
            if length > MOST_LINES_OF_A_FUNCTION and A_WORD_WHY["lines"] not in why:
                yield f"{name}: {node.name} has {length} lines: name a part of it, or say why it is one."


def project_files() -> list[str]:
    folders = (ROOT / "mass_jax", ROOT / "experiments")
    return sorted(path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*.py"))


def test_functions_and_files_have_a_size_to_be_read():
    found = []
    for name in project_files():
        source = (ROOT / name).read_text(encoding="utf-8")
        most = MOST_LINES_OF_A_MAIN if name.count("/") == 1 else MOST_LINES
        if name.startswith("mass_jax/"):
            most = MOST_LINES
        if (count := source.count("\n")) > most:
            found.append(f"{name} has {count} lines, and {most} are the most: a second idea wants a file of its own.")
        found += too_large(source, name)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def f(a, b, c, d, e, f, g): pass", 0),
        ("def f(self, a, b, c, d, e, f, g): pass", 0),
        ("def f(a, b, c, d, e, f, *, g, **h): pass", 1),
        ("def f(a, b, c, d, e, f, *, g, **h): pass  # parameters: it repeats another library's", 0),
        ("class A:\n  async def f(self, a, b, c, d, e, f, g, h): pass", 1),
        ("def f():\n  '''Said.\n" + "\n" * 70 + "  '''\n  return 1", 0),
        ("def f():\n  '''Said.'''\n" + "  x = 1\n" * 61, 1),
        ("def f():  # lines: a table\n" + "  x = 1\n" * 61, 0),
    ],
)
def test_what_is_too_large(source: str, count: int):
    assert len(list(too_large(source, "x.py"))) == count
