"""Grading in a pool of processes: every comparison has its own time limit, and no answer can stop or slow a run.

What `exact.compare` decides never leaves this process. The rest goes to a `sandbox.pool`, whose workers run
`equivalence`. What does not end there, twice, is *not judged*: neither right nor wrong, counted, and logged.
"""

import dataclasses
from collections.abc import Sequence

from absl import logging

from mass_jax.tasks.base import Verdict
from mass_jax.tasks.mathematics import equivalence, exact
from mass_jax.tasks.mathematics.normal_form import normal_form
from mass_jax.tasks.sandbox.pool import Pool, Pooled

LONGEST_ANSWER = 1000
"""Characters of an answer; a longer one is wrong."""


@dataclasses.dataclass
class Counts:
    """What became of the comparisons so far.

    Attributes:
      quick: decided without a worker.
      checked: decided by a worker.
      timeouts: workers that went over their time; a comparison may cost two.
      deaths: workers that ended by themselves while they compared; likewise.
      unjudged: ended in neither of two workers, or met an error of ours.
    """

    quick: int = 0
    checked: int = 0
    timeouts: int = 0
    deaths: int = 0
    unjudged: int = 0


class Grader(Pooled):
    """Judges final answers, many at a time."""

    def __init__(self, workers: int | None = None, time_limit: float = 5.0):
        """A grader without processes yet.

        Args:
          workers: processes at most; by default as many as the machine has cores, up to 8.
          time_limit: seconds of processor time for one comparison.

        Raises:
          ValueError: if either is not positive.
        """
        self.counts = Counts()
        self._pool = Pool(equivalence, workers, time_limit)

    def grade(self, reference: str, answer: str) -> Verdict:
        """Judge one final answer; see `grade_many`."""
        return self.grade_many([(reference, answer)])[0]

    def grade_many(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        r"""Judge pairs of final answers (reference, candidate), in order. A pair that repeats is judged once.

        Args:
          pairs: answers as `answers.final_answer` returns them, such as ``(r"\frac{1}{2}", "0.5")``.

        Raises:
          RuntimeError: if workers are needed but do not start.
        """
        verdicts: dict[tuple[str, str], Verdict] = {}
        hard: list[tuple[str, str]] = []
        quick = {pair: _quick(*pair) for pair in dict.fromkeys(pairs)}
        normal = [quick[pair][0] for pair in pairs]
        for pair, verdict in dict(quick.values()).items():
            if verdict is None:
                hard.append(pair)
                continue
            verdicts[pair] = verdict
            if verdict.judged:
                self.counts.quick += 1
            else:
                self.counts.unjudged += 1
        if hard:
            verdicts.update(self._judge(hard))
        return [verdicts[pair] for pair in normal]

    def _judge(self, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
        """Judge by workers."""
        verdicts = {}
        for (reference, answer), outcome in zip(pairs, self._pool.run(pairs), strict=True):
            self.counts.timeouts += outcome.timeouts
            self.counts.deaths += outcome.deaths
            if outcome.done:
                self.counts.checked += 1
                equal = outcome.value
                reason = "equal to the reference" if equal else f"{answer[:80]} differs from {reference[:80]}"
            else:
                self.counts.unjudged += 1
                equal, reason = False, outcome.reason
                warning = "An answer is not judged (%s, twice): %.80r against %.80r."
                logging.warning(warning, reason, answer, reference)
            verdicts[reference, answer] = Verdict(equal, reason, judged=outcome.done)
        return verdicts


def _quick(reference: str, answer: str) -> tuple[tuple[str, str], Verdict | None]:
    """The pair in normal form and its verdict, or None where only a worker can tell.

    An error is ours, whatever the answer says: it leaves this one pair not judged, and the run goes on.
    """
    try:
        pair = normal_form(reference), normal_form(answer[: LONGEST_ANSWER + 1])
        if len(answer) > LONGEST_ANSWER:
            return pair, Verdict(False, f"the answer has {len(answer)} characters, more than {LONGEST_ANSWER}")
        return pair, exact.compare(*pair)
    except Exception as error:
        logging.exception("An answer is not judged, by an error of the grader: %.80r against %.80r.", answer, reference)
        return (reference, answer), Verdict(False, f"error of the grader: {error!r}", judged=False)
