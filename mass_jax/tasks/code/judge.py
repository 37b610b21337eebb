"""Judges a solution by its tests, in jails: a program for workers of `sandbox.pool`, one server of jails in each."""

import functools
import json
from pathlib import Path
from typing import Any

from mass_jax.tasks.sandbox.jail import Jail, Limits, Report

ROLES = str(Path(__file__).with_name("roles.py"))


@functools.cache
def _jail() -> Jail:
    return Jail(ROLES, anyhow=True)  # that it is sound is asked where the pool is made


def prepare() -> None:
    """Starts the server of jails."""
    _jail()


def judge(solution: str, tests: dict[str, Any], limits: dict[str, int]) -> dict[str, Any]:
    """Run a solution against tests.

    Args:
      solution: a program that defines what the tests call.
      tests: ``setup``, a program; ``asked``, the names that come from the solution; ``tests``, programs that raise what
        is wrong.
      limits: of each of the two processes; see `Limits`.

    Returns:
      ``passed``, how many tests, and ``reason``, why not all.
    """
    source = solution.encode(errors="replace")
    given = json.dumps(tests).encode()
    of_solution, of_tests = _jail().run([("solution", source), ("tests", given)], Limits(**limits))
    passed, reason = _said(of_tests)
    if passed < len(tests["tests"]):
        ended = of_tests.reason or ("" if reason else "they ended before they were done")
        reason = of_solution.reason or (f"the tests: {ended}" if ended else reason)
    return {"passed": passed, "reason": reason}


def _said(report: Report) -> tuple[int, str]:
    """What the tests reported, if they came that far; of tests that a model wrote it can be anything."""
    try:
        said = json.loads(report.said)
        return int(said["passed"]), str(said["reason"])[:1000]
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0, ""
