"""What comes of one problem: the answer, the answer before, and everything that led from one to the other."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from mass_jax.guard.verdict import Verdict
from mass_jax.runtime.environment import versions
from mass_jax.tasks.base import Practice
from mass_jax.types import PyTree

PHASES = ("answer_before", "write", "weigh", "adapt", "guard", "answer")
"""In their order; without an update there is the first alone."""


class Phase(NamedTuple):
    """A phase of the work.

    Attributes:
      name: of `PHASES`.
      seconds: of the whole batch, which all of its problems waited for.
      tokens: of this problem that were written, or learned from.
    """

    name: str
    seconds: float
    tokens: int


def as_json(practice: Practice) -> dict[str, Any]:
    """A practice example as answers, streams and the audit hold it; `example` reads it back."""
    return {"problem": practice.prompt, "solution": practice.solution, "well_formed": practice.well_formed}


def example(found: Mapping[str, Any]) -> Practice:
    """What `as_json` wrote."""
    return Practice(found["problem"], found["solution"], found["well_formed"])


class Used(NamedTuple):
    """A practice example, and what became of it.

    Attributes:
      practice: the example.
      weight: how much it counted in the update, the gate not included.
      left_out: why it counted for nothing; empty where it could count.
    """

    practice: Practice
    weight: float
    left_out: str


@dataclasses.dataclass(frozen=True)
class Adapted:
    """An answered problem.

    Attributes:
      problem: its text.
      answer: by the adapted model, or the one before where there is no update.
      answer_before: by the un-adapted model.
      updated: whether an update stands behind the answer.
      why: there is none; empty where there is.
      practice: what was written, M examples; empty where nothing was.
      gate: the scorer's factor on the update; None without practice.
      expected_gain: of the update, before it is made, a share of right answers; None where nothing asked for it.
      losses: the weighted practice loss before each of the K steps, nats a token.
      verdict: the guard's, with the adapter's norm and KL; None without an update or a guard.
      votes: how many of the sampled solutions had each answer; empty of a greedy one.
      phases: what took how long.
      seed: of the options.
      model: by which name it was loaded.
      adapter: of the update, as `models.lora.init` has it; None without one.
    """

    problem: str
    answer: str
    answer_before: str
    updated: bool
    why: str
    practice: tuple[Used, ...]
    gate: float | None
    expected_gain: float | None
    losses: tuple[float, ...]
    verdict: Verdict | None
    votes: dict[str, int]
    phases: tuple[Phase, ...]
    seed: int
    model: str
    adapter: PyTree = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def seconds(self) -> float:
        """Of all phases."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def tokens(self) -> int:
        """Of all phases."""
        return sum(phase.tokens for phase in self.phases)

    def as_json(self, timing: bool = True) -> dict[str, Any]:
        """What JSON can hold of it; the schema is that of docs/tool.md.

        Args:
          timing: with seconds, which no seed repeats.
        """
        found = {
            "problem": self.problem,
            "answer": self.answer,
            "answer_before": self.answer_before,
            "updated": self.updated,
            "why": self.why,
            "practice": [
                as_json(each.practice) | {"weight": _rounded(each.weight), "left_out": each.left_out}
                for each in self.practice
            ],
            "gate": _rounded(self.gate),
            "expected_gain": _rounded(self.expected_gain),
            "losses": [_rounded(loss) for loss in self.losses],
            "guard": None if self.verdict is None else self.verdict.as_json(),
            "votes": self.votes,
            "phases": [each._asdict() | {"seconds": round(each.seconds, 4)} for each in self.phases],
            "tokens": self.tokens,
            "seed": self.seed,
            "model": self.model,
            "versions": versions(),
            "seconds": round(self.seconds, 4),
        }
        return found if timing else untimed(found)


def untimed(found: Mapping[str, Any]) -> dict[str, Any]:
    """What `Adapted.as_json` says, without seconds."""

    def without(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name != "seconds"}

    return without(found) | {"phases": [without(phase) for phase in found["phases"]]}


def _rounded(value: float | None) -> float | None:
    """None also of what is not finite, which JSON cannot hold."""
    return None if value is None or not math.isfinite(value) else round(float(value), 6)
