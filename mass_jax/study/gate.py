"""The headroom gate: before anything is meta-learned, can adaptation help at all on this domain?

Measures the base and two oracles (correct practice of the hidden family; the same without any tested fact) on
validation families, and stops with an explanation where they do not gain enough. Of a domain with a choice it measures
what `choice_gate` says, which stops nothing.
"""

from typing import Any

from absl import logging

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.parallel import hosts
from mass_jax.reporting import stats
from mass_jax.runtime.results import RESULTS_FILE, merge
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study.arms import ARMS
from mass_jax.study.choice_gate import choice_gate
from mass_jax.study.evaluate import base_state, made_with
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.study import Study
from mass_jax.study.targets import gains
from mass_jax.tasks.base import KnowsFamily, OffersTopics

GATE_FILE = "gate.json"
MEASURED = ("base", "tt_ss", "oracle_gold_family", "oracle_strict")
"""The rows of the table that the gate is about."""


class GateError(InputError):
    """The domain, the base or the inner update leaves adaptation no room."""


def on_validation(study: Study) -> Evaluator:
    """Of the base, on the problems that the gates are about."""
    problems = study.splits.validation[: study.config.gate.problems]
    return Evaluator(study, {"base": base_state(study)}, problems, study.config.seed + 2)


def gate(evaluator: Evaluator) -> dict[str, Any]:
    """Accuracies and paired gains on the evaluator's problems.

    Raises:
      GateError: if an oracle gains less than ``config.gate`` asks for, or its gain's interval reaches zero.
    """
    if stats.family_count(evaluator.families) < 2:
        raise GateError(
            f"The headroom gate cannot judge a gain by {len(evaluator.problems)} validation problems of 1 family: "
            "raise config.gate.problems or config.task.validation_families, so that there are 2 or more."
        )
    verdicts = {name: evaluator.correct(evaluator.run(ARMS[name].model, ARMS[name].recipe)) for name in MEASURED}
    report: dict[str, Any] = {name: stats.accuracy(verdict, evaluator.families) for name, verdict in verdicts.items()}
    for name, least in gains(evaluator.study.config).items():
        gain = stats.paired_difference(verdicts[name], verdicts["base"], evaluator.families)
        report[f"{name}-base"] = gain
        assert gain["ci95"] is not None, "there are two families or more"
        low, high = gain["ci95"]
        if gain["diff"] < least or low <= min(least, 0.0):
            raise GateError(
                f"The headroom gate is closed: on {len(evaluator.problems)} validation problems the base answers "
                f"{report['base']['accuracy']:.1%}, and {name} gains {gain['diff']:+.1%} (95 % interval {low:+.1%} to "
                f"{high:+.1%}), less than the {least:.0%} that config.gate asks for. If the base is near 0 or 100 %, "
                "change config.pretrain.steps; else tune config.inner.learning_rate and steps on validation families."
            )
    return report


def opened(study: Study) -> dict[str, Any]:
    """What ``gate.json`` holds: ``gate``, see `gate`, and of a domain with a choice ``choice``, see `choice_gate`.

    Where it holds nothing they are measured, and kept there and in ``results.json``.

    Raises:
      GateError: as `gate`.
    """
    path, origin = study.workdir / GATE_FILE, made_with(study, base_state(study))
    found = records.read(path, origin)
    if hosts.largest(found is None):
        evaluator = on_validation(study)
        found = {"gate": gate(evaluator)}
        if isinstance(study.domain.task, OffersTopics):
            found["choice"] = choice_gate(evaluator)
        if hosts.first():
            write_atomically(path, records.dumps(found, origin, indent=2))
    assert found is not None
    merge(study.workdir, **found)
    return found


def bring_back(study: Study) -> None:
    """Puts what ``gate.json`` holds into a ``results.json`` that lacks it; measures nothing, and says what is to do."""
    lacks = "gate" not in (records.read(study.workdir / RESULTS_FILE) or {})
    if not isinstance(study.domain.task, KnowsFamily) or not hosts.largest(lacks):
        return
    found = records.read(study.workdir / GATE_FILE, made_with(study, base_state(study)))
    if found is not None:
        merge(study.workdir, **found)
    elif hosts.first():
        logging.warning(
            "'%s' has no headroom gate: python -m experiments.gate with the same --config and --workdir measures it.",
            study.workdir / RESULTS_FILE,
        )
