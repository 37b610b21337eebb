"""The tables of `experiments.benchmarks.retraining`, from its rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.benchmarks.kept import MINUS
from mass_jax.reporting.table import Table

TENTH, REMOVED = "±10 %", "removed"
"""Kinds of change: of a weight by a tenth of it in both directions, and to 0."""
TABLES = {TENTH: "tenth", REMOVED: "removed"}
"""The name of each one's table by settings."""
STATISTICS = {"correlation": "correlation", "ranks": "ranks", "signs": "equal signs", "slope": "slope"}


def tables(rows: Sequence[Mapping[str, Any]]) -> dict[str, Table]:
    """What is kept of rows, each with its ``model``, ``setting`` and ``row``, and what was measured.

    Returns:
      ``rows``, all of it with intervals; and for each kind of change a line a setting: the mean size of the change,
      and each estimator's correlation and ranks.
    """
    heads = [f"{kind}: {word}" for kind in TABLES for word in STATISTICS.values()]
    lines = []
    for row in rows:
        cells = [_cell(row["changes"][kind][name]) for kind in TABLES for name in STATISTICS]
        lines.append((row["model"], row["setting"], row["row"], *cells))
    whole = Table(("Model", "Setting", "Estimator", *heads), "lll" + "r" * len(heads), lines)
    return {"rows": whole} | {name: _by_setting(rows, kind) for kind, name in TABLES.items()}


def _by_setting(rows: Sequence[Mapping[str, Any]], kind: str) -> Table:
    estimators = list(dict.fromkeys(row["row"] for row in rows))
    groups: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["setting"]), {})[row["row"]] = row["changes"][kind]
    lines = []
    for names, found in groups.items():
        size = next(iter(found.values()))["nats"]["value"]
        pairs = [_pair(found[estimator]) if estimator in found else "–" for estimator in estimators]
        lines.append((*names, "–" if size is None else f"{size:.2g}", *pairs))
    return Table(("Model", "Setting", "Change, nats", *estimators), "llr" + "r" * len(estimators), lines)


def _pair(found: Mapping[str, Any]) -> str:
    """The correlation and the ranks."""
    return " / ".join(_number(found[name]["value"]) for name in ("correlation", "ranks"))


def _cell(estimate: Mapping[str, Any]) -> str:
    """The value with its interval."""
    ends = estimate["ci95"]
    return _number(estimate["value"]) + ("" if ends is None else f" ({_number(ends[0])} to {_number(ends[1])})")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", MINUS)
