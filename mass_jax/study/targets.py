"""What a finished run is held to: the part ``targets`` of results.json, from the config."""

from typing import Any

from mass_jax.study.schema import Config

ORACLES = {"oracle_gold_family": "oracle_gain", "oracle_strict": "strict_gain"}
"""Rows whose gain over Base shows that there is headroom, and the field of ``config.gate`` that says how much."""
ABOVE = ("base", "tt_ss", "solver_grpo", "mass_no_update", "mass_shuffled_weights")
"""Rows that the headline has to be better than."""
FROZEN, RIGHT = "mass_frozen_generator", 0.25
"""The arm whose generator learns nothing: where it is trained, the headline has to be better than it, and its
generator's right practice gains this much, as a fraction."""
RECOVERED = {"oracle_gain_recovered": 0.65}
"""The least share of the oracle's gain there."""
KEPT = ("mass_no_update",)
"""Rows that must not be below Base, or something was forgotten."""
CHECKS = {"oracle_gain_recovered": 0.5, "attribution_fd_correlation": 0.99, "scorer_auc_within_task": 0.7}
"""The least value of each check."""
ANY = -1.0
"""A gain that asks nothing: the gate is open."""


def gains(config: Config) -> dict[str, float]:
    """The least gain of every oracle."""
    return {row: getattr(config.gate, field) for row, field in ORACLES.items()}


def targets(config: Config) -> dict[str, Any]:
    """See `mass_jax.results.Targets`."""
    controlled = FROZEN in config.arms
    return {
        "gains": {row: least for row, least in gains(config).items() if least > ANY},
        "above": [*ABOVE, FROZEN] if controlled else list(ABOVE),
        "right": RIGHT if controlled else None,
        "kept": list(KEPT),
        "checks": CHECKS | RECOVERED if controlled else CHECKS,
        "problems": config.targets.problems,
        "minutes": config.targets.minutes,
    }
