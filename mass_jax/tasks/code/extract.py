"""The program in what a model wrote: out of its fence, with what a problem has begun; or why there is none."""

import ast
import re
from typing import NamedTuple

PYTHON = ("", "python", "python3", "py")
"""What a fence of ours may be marked with."""
LONGEST = 100_000
"""Characters of an answer."""
_OPENS = re.compile(r"^[ \t]*```[ \t]*\w", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*```[ \t]*([^\n`]*)\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


class Found(NamedTuple):
    """A program, or an empty text and the reason."""

    program: str
    reason: str = ""


def program(text: str, begun: str = "", entry: str = "", inside: bool = False) -> Found:
    """Read a program. Never raises.

    Args:
      text: what a model wrote: code by itself, or prose with code in a fence of which the last one of Python counts.
      begun: the beginning of a program that the text may go on with or repeat.
      entry: the function that a begun program is to define.
      inside: the text goes on inside of a fence, unless it opens one itself.
    """
    if len(text) > LONGEST:
        return Found("", f"the answer has {len(text)} characters, more than {LONGEST}")
    if inside and text.count("```") < 2 and not _OPENS.search(text):
        text = text.partition("```")[0]
    fences = [(mark.strip().lower(), body) for mark, body in _FENCE.findall(text)]
    ours = [body for mark, body in fences if mark in PYTHON]
    if fences and not ours:
        return Found("", f"the code is in a fence of {fences[-1][0][:20]!r}, not of Python")
    code = ours[-1] if ours else text
    if not code.strip():
        return Found("", "there is no code")
    if begun and not (entry and defines(code, entry)):
        code = f"{begun}{code}"  # a body
    elif begun:
        code = f"{begun}\n\n{code}"  # the whole function again, with the imports and helpers of the beginning
    return Found(code)


def defines(code: str, name: str) -> bool:
    """Whether a program defines a function of this name; False of what is no Python."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name for node in tree.body)
