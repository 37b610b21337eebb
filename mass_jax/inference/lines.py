"""Problems that come a line each, answered in their order; a line that cannot be answered has a sentence instead."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.inference.adapted import Adapted, untimed
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import Options
from mass_jax.inference.sessions.session import Session
from mass_jax.tasks.base import Problem

GIVEN = frozenset(("problem", "seed"))
"""Keys of an object that are read; others are handed on."""
TAKEN = frozenset(
    """request error answer answer_before updated why practice gate expected_gain losses guard votes phases tokens model
    versions seconds""".split()
)
"""Keys that the output has for itself."""


class Line(NamedTuple):
    """A line of input.

    Attributes:
      problem: None where it cannot be answered.
      options: by which.
      further: keys that are handed on to the output.
      error: why it cannot be; empty where it can.
    """

    problem: Problem | None
    options: Options
    further: dict[str, Any]
    error: str


class Answered(NamedTuple):
    """A line, and what came of it; None where it could not be answered."""

    line: Line
    adapted: Adapted | None

    def as_json(self, timing: bool) -> dict[str, Any]:
        """What the output says of it."""
        if self.adapted is None:
            return self.line.further | {"error": self.line.error}
        return self.line.further | self.adapted.as_json(timing)


def of_text(adapter: MassAdapter | Session, raw: bytes, options: Options) -> Line:
    """A line that is a problem."""
    try:
        return Line(adapter.learner.read(raw.decode("utf-8-sig")), options, {}, "")
    except UnicodeDecodeError as error:
        return Line(None, options, {}, f"it is no UTF-8 ({error}): give it in that encoding.")
    except ValueError as error:
        return Line(None, options, {}, str(error))


def of_json(adapter: MassAdapter | Session, raw: bytes, options: Options) -> Line:
    """A line that is an object with a ``problem``, and where it likes with a ``seed``."""
    further: dict[str, Any] = {}
    try:
        found = _object(raw)
        further = {name: value for name, value in found.items() if name not in TAKEN | GIVEN}
        if taken := sorted(found.keys() & TAKEN):
            raise InputError(f"it has the key {taken[0]!r}, which the output has for itself: give it another name.")
        if "problem" not in found:
            raise InputError('it has no "problem": give its text under this key.')
        options = dataclasses.replace(options, seed=found.get("seed", options.seed))
        return Line(adapter.learner.read(found["problem"]), options, further, "")
    except ValueError as error:
        return Line(None, options, further, str(error))


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = records.parsed(raw.decode("utf-8-sig"))
        json.dumps(found, allow_nan=False)
    except ValueError as error:
        raise InputError(f"it is no JSON ({error}): give an object a line.") from None
    if not isinstance(found, dict):
        raise InputError(f"it holds a {type(found).__name__}: give an object.")
    return found


def answered(adapter: MassAdapter | Session, lines: Iterable[Line]) -> Iterator[Answered]:
    """Every line with its answer, in their order. As many are read ahead as are answered at once."""
    waiting = list[Line]()
    for line in lines:
        waiting.append(line)
        if sum(each.problem is not None for each in waiting) in (0, adapter.learner.batch):
            yield from _at_once(adapter, waiting)
            waiting = []
    yield from _at_once(adapter, waiting)


def in_session(
    session: Session, lines: Iterable[Line], tickets: Iterable[str], timing: bool
) -> Iterator[dict[str, Any]]:
    """What the output says of every line that a session answers, one after another.

    What it has answered already, and could not hand over before it was killed, is not answered again.
    """
    for line, ticket in zip(lines, tickets, strict=True):
        if line.problem is None:
            yield Answered(line, None).as_json(timing)
        elif (known := session.answered(ticket)) is not None:
            yield line.further | (known if timing else untimed(known))
        else:
            yield Answered(line, session.adapt(line.problem, line.options, ticket=ticket)).as_json(timing)


def _at_once(adapter: MassAdapter | Session, lines: list[Line]) -> Iterator[Answered]:
    able = [(line.problem, line.options) for line in lines if line.problem is not None]
    found = iter(adapter.adapt([problem for problem, _ in able], [options for _, options in able]))
    for line in lines:
        yield Answered(line, None if line.problem is None else next(found))
