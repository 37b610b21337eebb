"""What a run has to show, and whether it did. What it is held to stands in the file of results, from its config."""

from collections.abc import Callable
from dataclasses import dataclass

from mass_jax.reporting.labels import check_label, label, pair_label
from mass_jax.results import Results, finite


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


def judge(results: Results) -> list[Verdict]:
    """Holds every target against the results of a run.

    Args:
      results: of the run; anything may be missing.

    Returns:
      One verdict per target.
    """
    targets, headline = results.targets, results.headline
    verdicts = []
    if targets.problems is not None:
        row = results.methods.get(headline or "")
        claim = f"Test problems: at least {targets.problems:.0f}"
        verdicts.append(_at_least(claim, row.n if row else None, targets.problems, "{:.0f}".format))
    for name, least in targets.gains.items():
        claim = f"{label(name, results)} over {label('base', results)}: at least {100 * least:.3g} points"
        verdicts.append(_at_least(claim, _gain(results, name), least, points))
    verdicts += [_above_zero(results, f"{headline}-{other}") for other in targets.above if headline]
    if targets.right is not None:
        claim, right = f"Right practice: at least {100 * targets.right:.3g} points more", results.generator.right
        gain = right["after"] - right["before"] if {"before", "after"} <= right.keys() else None
        verdicts.append(_at_least(claim, gain, targets.right, points))
    for name, least in targets.checks.items():
        verdicts.append(_at_least(f"{check_label(name)}: at least {least}", _worst(results, name), least))
    for name in targets.kept:
        claim = f"Nothing forgotten: {label(name, results)} not below {label('base', results)}"
        paired = results.paired.get(f"{name}-base")
        verdicts.append(_at_least(claim, _gain(results, name) if paired is None else paired.diff, 0.0, points))
    if targets.minutes is not None:
        claim, seconds = f"Total time: at most {targets.minutes:.0f} minutes", results.timing.total_seconds
        verdicts.append(_at_most(claim, seconds, targets.minutes * 60, "{:.0f} s".format))
    return verdicts


def points(value: float) -> str:
    """A difference of shares in percentage points, signed."""
    return f"{round(100 * value, 1) + 0.0:+.1f}".replace("-", "−")


def _at_least(claim: str, value: float | None, limit: float, form: Callable[[float], str] = "{:.4g}".format) -> Verdict:
    if (value := finite(value)) is None:
        return Verdict(claim, "not measured", None)
    # A difference of two shares may miss its limit by rounding alone.
    return Verdict(claim, form(value), value >= limit - 1e-12)


def _at_most(claim: str, value: float | None, limit: float, form: Callable[[float], str]) -> Verdict:
    if value is None:
        return Verdict(claim, "not measured", None)
    return Verdict(claim, form(value), value <= limit)


def _above_zero(results: Results, pair: str) -> Verdict:
    claim = f"{pair_label(pair, results)}: 95 % interval above zero"
    found = results.paired.get(pair)
    if found is None or found.bounds is None:
        return Verdict(claim, "not measured", None)
    low, high = found.bounds
    return Verdict(claim, f"{points(low)} to {points(high)}", low > 0)


def _gain(results: Results, name: str) -> float | None:
    rows = results.methods | results.controls
    return rows[name].accuracy - rows["base"].accuracy if {name, "base"} <= rows.keys() else None


def _worst(results: Results, name: str) -> float | None:
    """The worst of a check's numbers: a check may hold one for each optimiser."""
    found = results.checks.get(name)
    values = found.values() if isinstance(found, dict) else [found]
    numbers = [value for value in map(finite, values) if value is not None]
    return min(numbers) if numbers else None
