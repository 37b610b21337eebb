"""The table and the figures of a comparison of meta-gradient estimators, from the rows of its ``results.json``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mass_jax.reporting.table import Table

Row = dict[str, Any]

_COLOURS = "#4269d0 #efb118 #ff725c #6cc5b0 #3ca951 #ff8ab7 #a463f2 #97bbf5 #9c6b4e #7a7a7a".split()
_MARKERS = "os^vDPX*<>"


def table(rows: Sequence[Row]) -> Table:
    """One line a row, in the order of size, optimiser, K."""
    cells = []
    for row in sorted(rows, key=lambda row: (row["size"] != "small", row["size"], row["optimizer"], row["K"])):
        cells.append(
            (
                row["size"],
                row["optimizer"],
                str(row["K"]),
                label(row),
                _number(row["rel_err"], ".1e"),
                _number(row["cosine"], ".3f"),
                _number(row["seconds"], ".3g"),
                _number(row["ratio_to_plain"], ".2f"),
                _number(row["temp_bytes"] / 1e6, ".1f"),
                _number(row["temp_bytes"] / row["plain_temp_bytes"], ".2f"),
                _number(row["compile_seconds"], ".1f"),
                row.get("note", ""),
            )
        )
    columns = (
        "Size", "Optimiser", "K", "Estimator", "Relative error", "Cosine", "Seconds", "x plain, time", "Temp, MB",
        "x plain, temp", "Compiled in, s", "",
    )  # fmt: skip
    return Table(columns, "llrlrrrrrrrl", cells)


def label(row: Row) -> str:
    """The estimator with its options."""
    options = ", ".join(f"{name}={value}" for name, value in row["options"].items())
    return row["estimator"] + (f" ({options})" if options else "")


def save_plots(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Writes memory.png and time.png (against K) and error.png (against time), a panel for each size and optimiser."""
    plots: dict[str, Callable[[Axes, Sequence[Row], dict[str, int]], None]] = {
        "memory": _memory,
        "time": _time,
        "error": _error,
    }
    panels = sorted({(row["size"], row["optimizer"]) for row in rows}, key=lambda panel: (panel[0] != "small", panel))
    places = {name: index for index, name in enumerate(dict.fromkeys(row["estimator"] for row in rows))}
    paths = []
    for name, draw in plots.items():
        figure = Figure(figsize=(5.5 * min(2, len(panels)), 4.2 * -(-len(panels) // 2) + 1.2), layout="constrained")
        axes = figure.subplots(-(-len(panels) // 2), min(2, len(panels)), squeeze=False).ravel()
        for ax, (size, optimizer) in zip(axes, panels, strict=False):
            draw(ax, [row for row in rows if (row["size"], row["optimizer"]) == (size, optimizer)], places)
            ax.set_title(f"{size}, {optimizer}")
            ax.grid(alpha=0.3)
        for ax in axes[len(panels) :]:
            ax.remove()
        handles = {text: line for ax in figure.axes for line, text in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=130)
    return paths


def _memory(ax: Axes, rows: Sequence[Row], places: dict[str, int]) -> None:
    _against_steps(ax, rows, places, lambda row: row["temp_bytes"] / 1e6, "temporaries, MB")


def _time(ax: Axes, rows: Sequence[Row], places: dict[str, int]) -> None:
    _against_steps(ax, rows, places, lambda row: row["ratio_to_plain"], "time, in plain runs")


def _against_steps(
    ax: Axes, rows: Sequence[Row], places: dict[str, int], value: Callable[[Row], float | None], name: str
) -> None:
    """One line for each estimator: the best of its options by this value, at every K."""
    for estimator, place in places.items():
        best: dict[int, float] = {}
        for row in rows:
            found = value(row)
            if row["estimator"] == estimator and found is not None:
                best[row["K"]] = min(best.get(row["K"], found), found)
        if best:
            ax.plot(sorted(best), [best[k] for k in sorted(best)], label=estimator, **_style(place))
    ax.set(xscale="log", yscale="log", xlabel="K, inner steps", ylabel=name)
    ax.set_xticks(sorted({row["K"] for row in rows}), labels=[str(k) for k in sorted({row["K"] for row in rows})])
    ax.minorticks_off()


def _error(ax: Axes, rows: Sequence[Row], places: dict[str, int]) -> None:
    steps = 8 if any(row["K"] == 8 for row in rows) else max(row["K"] for row in rows)
    for estimator, place in places.items():
        measured = [row for row in rows if row["rel_err"] is not None]
        here = [row for row in measured if (row["estimator"], row["K"]) == (estimator, steps)]
        if here:
            cost, error = [row["ratio_to_plain"] for row in here], [max(row["rel_err"], 1e-8) for row in here]
            ax.plot(cost, error, label=estimator, **(_style(place) | {"linestyle": "none"}))
    ax.set(xscale="log", yscale="log", xlabel=f"time, in plain runs (K = {steps})", ylabel="relative error")


def _style(place: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "markersize": 5,
        "linewidth": 1.4,
        "linestyle": "-",
    }


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"
