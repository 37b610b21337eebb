"""What a run has to show, and whether it did."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mass_jax.reporting.labels import pair_label
from mass_jax.reporting.run import dig, flatten, interval


@dataclass(frozen=True)
class Verdict:
    """One claim held against a run.

    Attributes:
      claim: what should be true.
      measured: the number found, or what is missing.
      passed: whether the claim holds, or None where it was not measured.
    """

    claim: str
    measured: str
    passed: bool | None


def judge(results: dict[str, Any]) -> list[Verdict]:
    """Holds every target against the results of a run.

    Args:
      results: the content of ``results.json``; anything may be missing.

    Returns:
      One verdict per target.
    """
    problems, minutes = (dig(results, "config", "targets", name) for name in ("problems", "minutes"))
    size = time = []
    if problems is not None:
        count = dig(results, "methods", trained_arm(results), "n")
        size = [_at_least(f"Test problems: at least {problems:.0f}", count, problems, "{:.0f}".format)]
    if minutes is not None:
        seconds = dig(results, "timing", "total_seconds")
        time = [_at_most(f"Total time: at most {minutes:.0f} minutes", seconds, minutes * 60, "{:.0f} s".format)]
    return [
        *size,
        _at_least("Oracle over Base: at least 15 points", _gain(results, "oracle_gold_family"), 0.15, points),
        _at_least("Strict oracle over Base: at least 5 points", _gain(results, "oracle_strict"), 0.05, points),
        *(
            _above_zero(results, f"{trained_arm(results)}-{other}")
            for other in ("base", "tt_ss", "solver_grpo", "mass_no_update", "mass_shuffled_weights")
        ),
        _at_least("Share of the oracle's gain recovered: at least half", _check(results, "oracle_gain_recovered"), 0.5),
        _at_least(
            "Attribution against finite differences: correlation at least 0.99",
            _check(results, "attribution_fd_correlation"),
            0.99,
            "{:.4f}".format,
        ),
        _at_least(
            "Scorer finds right practice pairs: area within the task at least 0.70",
            _check(results, "scorer_auc_within_task"),
            0.70,
        ),
        _at_least("Nothing forgotten: trained weights without update not below Base", _kept(results), 0.0, points),
        *time,
    ]


def trained_arm(results: dict[str, Any]) -> str:
    """The arm that a run is about: what the results say; in older ones MASS, or MASS-gold if only that was trained."""
    if results.get("headline"):
        return str(results["headline"])
    methods = results.get("methods") or {}
    return "mass_gold" if "mass_gold" in methods and "mass" not in methods else "mass"


def points(value: float) -> str:
    """A difference of shares in percentage points, signed."""
    return f"{round(100 * value, 1) + 0.0:+.1f}".replace("-", "−")


def _at_least(claim: str, value: float | None, limit: float, form: Callable[[float], str] = "{:.2f}".format) -> Verdict:
    if value is None:
        return Verdict(claim, "not measured", None)
    # A difference of two shares may miss its limit by rounding alone.
    return Verdict(claim, form(value), value >= limit - 1e-12)


def _at_most(claim: str, value: float | None, limit: float, form: Callable[[float], str]) -> Verdict:
    if value is None:
        return Verdict(claim, "not measured", None)
    return Verdict(claim, form(value), value <= limit)


def _above_zero(results: dict[str, Any], pair: str) -> Verdict:
    claim = f"{pair_label(pair, results)}: 95 % interval above zero"
    bounds = interval((results.get("paired") or {}).get(pair))
    if bounds is None:
        return Verdict(claim, "not measured", None)
    return Verdict(claim, f"{points(bounds[0])} to {points(bounds[1])}", bounds[0] > 0)


def _gain(results: dict[str, Any], control: str) -> float | None:
    after, before = dig(results, "controls", control, "accuracy"), dig(results, "methods", "base", "accuracy")
    return None if after is None or before is None else after - before


def _kept(results: dict[str, Any]) -> float | None:
    paired = dig(results, "paired", "mass_no_update-base", "diff")
    return _gain(results, "mass_no_update") if paired is None else paired


def _check(results: dict[str, Any], name: str) -> float | None:
    """The worst of a check's numbers: a check may hold one for each optimiser."""
    values = [dig({"x": value}, "x") for key, value in flatten(results.get("checks") or {}) if key.startswith(name)]
    numbers = [value for value in values if value is not None]
    return min(numbers) if numbers else None
