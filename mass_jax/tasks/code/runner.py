"""Solutions are run against tests, many at a time, in a pool as mathematics has it. Nothing runs unless asked for.

A worker judges (`judge.py`); what it judges runs in jails, two processes a solution (`roles.py`). A solution that does
not end, dies or prints without end has failed, with the reason. One that could not be run, because a worker died twice,
is not judged.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging

from mass_jax.errors import InputError
from mass_jax.tasks.code import judge
from mass_jax.tasks.sandbox import jail
from mass_jax.tasks.sandbox.jail import Limits
from mass_jax.tasks.sandbox.pool import Pool, Pooled


@dataclasses.dataclass(frozen=True)
class Suite:
    """What a solution is put to.

    Attributes:
      tests: programs, each of which raises what is wrong.
      asked: names that they use and that the solution has to define.
      setup: a program that runs before them.
    """

    tests: tuple[str, ...]
    asked: tuple[str, ...]
    setup: str = ""


class Result(NamedTuple):
    """How a solution fared.

    Attributes:
      passed: how many tests.
      total: of how many.
      reason: why not all; empty where all passed.
      judged: False where it could not be run.
    """

    passed: int
    total: int
    reason: str
    judged: bool = True

    @property
    def right(self) -> bool:
        """All of them passed, and there were some."""
        return self.judged and self.passed == self.total > 0


class Runner(Pooled):
    """Runs solutions."""

    def __init__(self, workers: int | None = None, limits: Limits = jail.USUAL, anyhow: bool = False):
        """A runner without processes yet.

        Args:
          workers: processes at most that judge; by default as many as the machine has cores, up to 8.
          limits: of each process that is judged.
          anyhow: go on where this system cannot keep foreign code in.

        Raises:
          InputError: it cannot, and that was not asked for.
        """
        try:
            with jail.Jail(judge.ROLES, anyhow) as tried:
                if tried.missing:
                    logging.warning("Foreign code is run without some walls: %s.", jail.described(tried.missing))
        except PermissionError as error:
            raise InputError(
                f"{error} Run it in a container or on a machine where they stand, or allow 'anyhow' where nothing is "
                "to be lost: then what models write is run as you."
            ) from error
        self._limits = dataclasses.asdict(limits)
        # A worker only watches. Its pool waits on it by the clock ten times these seconds, twice as long as what it
        # watches can take where it sleeps, and longer while that waits for a processor.
        self._pool = Pool(judge, workers, time_limit=jail.LONGEST / 5 * limits.seconds)

    def run(self, solutions: Sequence[tuple[str, Suite]]) -> list[Result]:
        """Run programs against tests; results are in their order. A pair that repeats is run once.

        Raises:
          RuntimeError: workers do not start.
        """
        different = list(dict.fromkeys(solutions))
        outcomes = self._pool.run([(text, dataclasses.asdict(suite), self._limits) for text, suite in different])
        results = {}
        for (text, suite), outcome in zip(different, outcomes, strict=True):
            total = len(suite.tests)
            if outcome.done:
                results[text, suite] = Result(outcome.value["passed"], total, outcome.value["reason"])
            else:
                logging.warning("A solution is not judged (%s, twice): %.80r.", outcome.reason, text)
                results[text, suite] = Result(0, total, outcome.reason, judged=False)
        return [results[each] for each in solutions]
