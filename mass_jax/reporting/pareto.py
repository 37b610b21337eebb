"""The plot of cost against accuracy, of a table that `experiments.benchmarks.cost_accuracy` made: nothing is measured.

    python -m mass_jax.reporting.pareto docs/data/cost.json runs/cost    # pareto.png there

What nothing cheaper equals, the Pareto front, is joined and labelled; everything else is a point.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mass_jax.reporting.pages import PageError, load
from mass_jax.reporting.run import errors_as_sentences
from mass_jax.reporting.table import Table

COSTS = {"tokens": "Tokens a problem", "seconds": "Seconds a problem"}
"""Columns by the name that the front's column has for them."""
WAY, ACCURACY, FRONT = "Way", "Accuracy, %", "Nothing cheaper equals it"
WITHOUT = "no update"
"""The end of the names of ways that make none."""
KINDS = {True: ("without an update", "#7a7a7a", "o"), False: ("with an update", "#4269d0", "s")}
"""Label, colour and marker by whether a way makes none."""
LEAST_SECONDS = 0.0005
"""The table has seconds to 0.001: one of 0.000 has no place on a logarithmic axis."""


class Point(NamedTuple):
    """A row: its way, its cost, its accuracy in percent, and whether it is on the front."""

    way: str
    cost: float
    accuracy: float
    best: bool


def points(table: Table, cost: str) -> list[Point]:
    """The rows of a table of `cost_accuracy`, cheapest first.

    Args:
      table: of ways, costs and accuracies.
      cost: of `COSTS`.

    Raises:
      PageError: it is another table.
    """
    try:
        place = {name: table.columns.index(name) for name in (WAY, ACCURACY, FRONT, *COSTS.values())}
        found = [
            Point(
                row[place[WAY]],
                max(float(row[place[COSTS[cost]]]), LEAST_SECONDS),
                float(row[place[ACCURACY]]),
                cost in row[place[FRONT]].split(", "),
            )
            for row in table.rows
        ]
    except ValueError as error:
        raise PageError(
            f"this is no table of costs ({error}): give one of experiments.benchmarks.cost_accuracy."
        ) from None
    return sorted(found, key=lambda point: (point.cost, point.accuracy))


def save_plot(table: Table, folder: Path) -> Path:
    """Writes pareto.png, a panel for each cost; returns the file.

    Raises:
      PageError: as `points`.
    """
    each = {cost: points(table, cost) for cost in COSTS}
    figure = Figure(figsize=(6.4 * len(COSTS), 5.4), layout="constrained")
    for axes, (cost, found) in zip(figure.subplots(1, len(COSTS), sharey=True), each.items(), strict=True):
        _draw(axes, found)
        axes.set(xscale="log", xlabel=f"{COSTS[cost].lower()}, logarithmic", ylabel=ACCURACY.lower())
        axes.label_outer()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "pareto.png", dpi=130)
    return folder / "pareto.png"


def _draw(axes: Axes, found: list[Point]) -> None:
    front = [point for point in found if point.best]
    axes.step([p.cost for p in front], [p.accuracy for p in front], where="post", color="#ff725c", label="Pareto front")
    for without, (label, colour, marker) in KINDS.items():
        of_kind = [p for p in found if p.way.endswith(WITHOUT) == without]
        for best in (False, True):
            some = [p for p in of_kind if p.best == best]
            axes.plot(
                [p.cost for p in some],
                [p.accuracy for p in some],
                marker,
                color=colour,
                alpha=1.0 if best else 0.4,
                label=label if best else None,
            )
    for i, point in enumerate(front):
        # On both sides of the steps in turn, so that neighbours have room; the first and the last away from the edges.
        right = i == 0 or (i % 2 == 1 and i < len(front) - 1)
        offset = (7, 5 if i == 0 else -12) if right else (-7, 5)
        side = "left" if right else "right"
        place = (point.cost, point.accuracy)
        axes.annotate(point.way, place, offset, textcoords="offset points", ha=side, fontsize=8)
    axes.margins(x=0.1, y=0.1)
    axes.grid(alpha=0.3)


def main() -> None:
    """Draws the plot of cost against accuracy from a file of tables."""
    parser = argparse.ArgumentParser("python -m mass_jax.reporting.pareto", description=main.__doc__)
    parser.add_argument("data", type=Path, help="docs/data/cost.json, or the table.json of a measurement")
    parser.add_argument("folder", type=Path, help="for pareto.png")
    values = parser.parse_args()
    with errors_as_sentences():
        tables = load(values.data)
        if "rows" not in tables:
            raise PageError(f"'{values.data}' has no table of costs: give one of experiments.benchmarks.cost_accuracy.")
        print(save_plot(tables["rows"], values.folder))


if __name__ == "__main__":
    main()
