"""The headroom gate: before anything is meta-learned, can adaptation help at all on this domain?

Measures the base and two oracles (correct practice of the hidden family; the same without any tested fact) on
validation families, and stops with an explanation where they do not gain enough.
"""

from typing import Any

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.parallel import hosts
from mass_jax.reporting import stats
from mass_jax.runtime.results import merge
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study.arms import ARMS
from mass_jax.study.evaluate import base_state, made_with
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.study import Study
from mass_jax.study.targets import gains

MEASURED = ("base", "tt_ss", "oracle_gold_family", "oracle_strict")
"""The rows of the table that the gate is about."""


class GateError(InputError):
    """The domain, the base or the inner update leaves adaptation no room."""


def gate(study: Study) -> dict[str, Any]:
    """Accuracies and paired gains on validation families.

    Raises:
      GateError: if an oracle gains less than ``config.gate`` asks for, or its gain's interval reaches zero.
    """
    settings = study.config.gate
    problems, states = study.splits.validation[: settings.problems], {"base": base_state(study)}
    evaluator = Evaluator(study, states, problems, study.config.seed + 2)
    if stats.family_count(evaluator.families) < 2:
        raise GateError(
            f"The headroom gate cannot judge a gain by {len(evaluator.problems)} validation problems of 1 family: "
            "raise config.gate.problems or config.task.validation_families, so that there are 2 or more."
        )
    verdicts = {name: evaluator.correct(evaluator.run(ARMS[name].model, ARMS[name].recipe)) for name in MEASURED}
    report: dict[str, Any] = {name: stats.accuracy(verdict, evaluator.families) for name, verdict in verdicts.items()}
    for name, least in gains(study.config).items():
        gain = stats.paired_difference(verdicts[name], verdicts["base"], evaluator.families)
        report[f"{name}-base"] = gain
        assert gain["ci95"] is not None, "there are two families or more"
        low, high = gain["ci95"]
        if gain["diff"] < least or low <= min(least, 0.0):
            raise GateError(
                f"The headroom gate is closed: on {settings.problems} validation problems the base answers "
                f"{report['base']['accuracy']:.1%}, and {name} gains {gain['diff']:+.1%} (95 % interval {low:+.1%} to "
                f"{high:+.1%}), less than the {least:.0%} that config.gate asks for. If the base is near 0 or 100 %, "
                "change config.pretrain.steps; else tune config.inner.learning_rate and steps on validation families."
            )
    return report


def opened(study: Study) -> dict[str, Any]:
    """What ``gate.json`` holds; where it has nothing, `gate`, which is then kept there and in ``results.json``.

    Raises:
      GateError: as `gate`.
    """
    path, origin = study.workdir / "gate.json", made_with(study, base_state(study))
    found = records.read(path, origin)
    if hosts.largest(found is None):
        found = gate(study)
        if hosts.first():
            write_atomically(path, records.dumps(found, origin, indent=2))
    assert found is not None
    merge(study.workdir, gate=found)
    return found
