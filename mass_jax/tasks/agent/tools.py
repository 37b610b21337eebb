"""The world of an episode: files of numbers in memory, a calculator, and what becomes of a call.

    read a        what the file holds
    calc 3 * 9    what the calculator makes of it; / goes as often as it goes
    write c 27    ok
    done          nothing: the episode is over

A tool says one word; to all that it cannot do, `ERROR`. Nothing here raises, whatever a call is.
"""

import operator
import re
from collections.abc import Mapping
from typing import NamedTuple

LARGEST = 99
"""Of numbers, which are whole and start at 0."""
CALLS = 8
"""Of an episode, at most."""
FILES = 8
"""Of a world, at most."""
LETTERS = 8
"""Of a file's name, at most."""
OK, ERROR = "ok", "error"
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}
_NUMBER = re.compile(r"0|[1-9][0-9]?")
_NAME = re.compile(rf"[a-z]{{1,{LETTERS}}}")
_SHOWN = 40
"""Characters of a word that a sentence shows."""


class World(NamedTuple):
    """What is there between two calls.

    Attributes:
      files: the number in each, by its name; never changed in place.
      calls: how many there were.
      done: whether the last one said so.
    """

    files: Mapping[str, int]
    calls: int = 0
    done: bool = False

    @property
    def over(self) -> bool:
        """Whether no tool answers any more."""
        return self.done or self.calls >= CALLS


class Said(NamedTuple):
    """A tool's answer: one word, empty after ``done``; and of an `ERROR` what is wrong, in a sentence for people."""

    word: str
    why: str = ""


def step(world: World, call: str) -> tuple[World, Said]:
    """The world after a call, and what its tool says; a call that is an error counts, and changes nothing else.

    Args:
      world: as it is.
      call: any text.
    """
    if world.over:
        return world, Said(ERROR, "the episode is done" if world.done else f"an episode has at most {CALLS} calls")
    after = world._replace(calls=world.calls + 1)
    match call.split(" "):
        case ["done"]:
            return after._replace(done=True), Said("")
        case ["read", name]:
            found = world.files.get(name)
            return after, Said(ERROR, f"there is no file {short(name)}") if found is None else Said(str(found))
        case ["calc", left, sign, right]:
            return after, _calc(left, sign, right)
        case ["write", name, number]:
            if why := _unwritten(world.files, name, number):
                return after, Said(ERROR, why)
            return after._replace(files={**world.files, name: int(number)}), Said(OK)
    return after, Said(ERROR, f"{short(call)} is no call: write read, calc, write or done")


def calculated(left: int, sign: str, right: int) -> int | str:
    """A number from 0 to `LARGEST`, or why there is none.

    Args:
      left: a number.
      sign: of `SIGNS`.
      right: a number.
    """
    if sign == "/" and not right:
        return f"{left} / 0 divides by zero"
    made = SIGNS[sign](left, right)
    if 0 <= made <= LARGEST:
        return made
    return f"{left} {sign} {right} is {made}, {'below 0' if made < 0 else f'more than {LARGEST}'}"


def _calc(left: str, sign: str, right: str) -> Said:
    for number in (left, right):
        if not _NUMBER.fullmatch(number):
            return Said(ERROR, f"{short(number)} is no number from 0 to {LARGEST}")
    if sign not in SIGNS:
        return Said(ERROR, f"{short(sign)} is none of {' '.join(SIGNS)}")
    made = calculated(int(left), sign, int(right))
    return Said(ERROR, made) if isinstance(made, str) else Said(str(made))


def _unwritten(files: Mapping[str, int], name: str, number: str) -> str:
    """Why a number cannot be written to a file; empty where it can."""
    if not _NAME.fullmatch(name):
        return f"{short(name)} is no name of 1 to {LETTERS} small letters"
    if not _NUMBER.fullmatch(number):
        return f"{short(number)} is no number from 0 to {LARGEST}"
    if name not in files and len(files) >= FILES:
        return f"there are {FILES} files already, and none is {name}"
    return ""


def short(text: str) -> str:
    """A text as a sentence shows it, in quotes."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
