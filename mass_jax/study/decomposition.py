"""Whose gain is it: what each trained model writes, and what it solves with its scorer, without it, and un-adapted.

Arms whose generators have other rewards, all else equal, say what taught a generator.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mass_jax.adapt.run import Recipe
from mass_jax.quantities import Metric
from mass_jax.runtime.metrics import read_metrics
from mass_jax.study.arms import DIRECT, WRITES
from mass_jax.study.config import arm_config
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.views import synthesis_quality

CONTROLS = {
    "frozen": "mass_frozen_generator",
    "shuffled": "mass_shuffled_reward",
    "privileged": "mass_privileged_reward",
}
"""Arms that differ from the headline in the generator's reward alone, by what results.json calls them."""
AVERAGED = 5
"""Steps at either end of a training over which d' is averaged."""


def decomposition(evaluator: Evaluator) -> dict[str, dict[str, Any]]:
    """For the base and every trained arm, see `results.Decomposed`; any model can write, whatever it was trained by."""
    config, found = evaluator.study.config, {}
    for model in evaluator.states:
        solved = {"un_adapted": DIRECT, "uniform": Recipe("own")}
        if model in config.arms and arm_config(config, model).train.practice:
            solved["scorer"] = WRITES
        verdicts = {name: evaluator.correct(evaluator.run(model, recipe)) for name, recipe in solved.items()}
        accuracies = {name: float(np.mean(verdict)) for name, verdict in verdicts.items()}
        found[model] = {"practice": synthesis_quality(evaluator, model), "accuracy": accuracies}
    return found


def generator(found: dict[str, dict[str, Any]], main: str, workdir: Path) -> dict[str, dict[str, float]]:
    """What the headline's generator learned beside its controls; see `results.Generator`.

    Args:
      found: by `decomposition`.
      main: the headline.
      workdir: of the study.
    """
    models = {"before": "base", "after": main} | CONTROLS
    written = {name: found[model]["practice"] for name, model in models.items() if model in found}
    parts: dict[str, dict[str, float]] = {}
    if "correct" in written["before"]:
        parts["on_topic"] = {name: each["on_family"] / max(each["well_formed"], 1e-9) for name, each in written.items()}
        parts["right"] = {name: each["correct"] for name, each in written.items()}
    if ends := d_prime(workdir / main):
        parts["d_prime"] = ends
    return parts


def d_prime(folder: Path) -> dict[str, float]:
    """The reward's d' within sets at the ``start`` and the ``end`` of an arm's training; empty where it is not known.

    Args:
      folder: where the arm was trained; its curves may be lost.
    """
    try:
        values = [row[Metric.D_PRIME] for row in read_metrics(folder) if Metric.D_PRIME in row]
    except FileNotFoundError:
        values = []
    ends = {"start": values[:AVERAGED], "end": values[-AVERAGED:]} if values else {}
    return {name: float(np.mean(of)) for name, of in ends.items()}
