"""Training problems that the test split has too: found, removed, and counted.

A training problem is removed if it repeats an earlier one, if it is a test problem, or if it shares a run of 13 words
with one, the measure of Brown et al., 2020 (https://arxiv.org/abs/2005.14165, appendix C). Words are compared without
case and punctuation; a shorter text has no such run. Test problems are never removed, since scores on them are compared
with others'; repeated ones are counted.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, TypeVar

from mass_jax.tasks import overlap

RUN = 13
"""Words."""


class Posed(Protocol):
    """What has a text to compare."""

    @property
    def prompt(self) -> str:
        """The text."""


Row = TypeVar("Row", bound=Posed)


@dataclasses.dataclass(frozen=True)
class Report:
    """How many problems were removed from the training split, and why; the first reason that applies counts.

    Attributes:
      train_repeated: equal to an earlier training problem.
      train_in_test: equal to a test problem.
      train_overlapping: shares a run of 13 words with a test problem.
      test_repeated: test problems equal to an earlier one; these are kept.
    """

    train_repeated: int
    train_in_test: int
    train_overlapping: int
    test_repeated: int


def clean(train: Sequence[Row], test: Sequence[Row]) -> tuple[list[Row], Report]:
    """The training problems that may stay, in order, and what became of the others."""
    tested = [tuple(overlap.words(row.prompt)) for row in test]
    test_texts = set(tested)
    test_runs = set().union(*(overlap.runs(row.prompt, RUN) for row in test)) if test else set()
    seen: set[tuple[str, ...]] = set()
    kept, repeated, in_test, overlapping = [], 0, 0, 0
    for row in train:
        text = tuple(overlap.words(row.prompt))
        if text in seen:
            repeated += 1
        elif text in test_texts:
            in_test += 1
        elif overlap.runs(row.prompt, RUN) & test_runs:
            overlapping += 1
        else:
            kept.append(row)
        seen.add(text)
    return kept, Report(repeated, in_test, overlapping, len(tested) - len(test_texts))
