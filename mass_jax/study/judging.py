"""A study's grader for others: lm-evaluation-harness calls it on the task that `experiments.harness` writes."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mass_jax.study import setup
from mass_jax.study.config import from_json
from mass_jax.tasks.base import Problem, Task


def judge(config: Path) -> Callable[[Mapping[str, Any], Sequence[str]], dict[str, float]]:
    """The ``process_results`` of a task: 1 for an answer that the domain accepts, else 0; and 1 for one not judged.

    Args:
      config: the study's config.json. The domain is made from it when the first answer is judged.
    """

    @functools.cache
    def task() -> Task:
        return setup.make_domain(from_json(json.loads(config.read_text(encoding="utf-8")))).task

    def process_results(document: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
        problem = Problem(**{**document, "facts": tuple(document["facts"])})
        (verdict,) = task().grade([problem], [results[0]])
        return {"exact_match": float(verdict.correct), "not_judged": float(not verdict.judged)}

    return process_results
