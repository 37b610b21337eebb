"""Figures of the report, as a caption and SVG text to put inside a page's ``figure``.

Colours are written as place-holders and become CSS variables, so that a figure follows the page's light or dark theme,
and text stays text. Nothing here touches pyplot: no global state, no display.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from mass_jax.reporting import stats

# Place-holder colours, by the CSS variable that they become.
_VARIABLES = ("ink", "muted", "line", "c0", "c1", "c2", "c3", "c4", "c5", "good", "bad", "accent")
_COLOUR = {name: f"#0a0b{index:02x}" for index, name in enumerate(_VARIABLES)}
SERIES = tuple(_COLOUR[f"c{index}"] for index in range(6))

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 12,
    "text.color": _COLOUR["ink"],
    "axes.labelcolor": _COLOUR["muted"],
    "axes.edgecolor": _COLOUR["line"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": _COLOUR["muted"],
    "ytick.color": _COLOUR["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "grid.color": _COLOUR["line"],
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "lines.linewidth": 1.8,
}
_NARROW, _WIDE = 3.9, 4.5
"""Inches of a figure: on a phone, which has 300 pixels for it, letters are 11 pixels high and more."""
_MAX_POINTS = 400
_LARGE = 1e4
"""Values from here on are written with k, M, G."""
_SHORT = 18
"""Letters of a name of which two stand side by side in a legend."""


class Bar(NamedTuple):
    """One row of a figure with intervals: a share, its bounds (None if unknown), and whether it is highlighted."""

    label: str
    value: float
    bounds: tuple[float, float] | None
    highlight: bool


def bars(rows: Sequence[Bar], title: str, reference: float | None = None) -> str:
    """Horizontal bars of accuracies with their intervals; a dashed line marks ``reference``."""

    def draw(axes: Axes) -> None:
        for y, row in enumerate(rows):
            colour = _COLOUR["accent"] if row.highlight else _COLOUR["c5"]
            axes.barh(y, 100 * row.value, height=0.62, color=colour, alpha=1.0 if row.highlight else 0.85)
            end = row.value
            if row.bounds:
                axes.plot(100 * np.array(row.bounds), [y, y], color=_COLOUR["ink"], linewidth=1.4)
                end = max(row.bounds[1], end)
            axes.annotate(f"{100 * row.value:.1f}", (100 * end, y), (5, 0), textcoords="offset points", va="center")
        if reference is not None:
            axes.axvline(100 * reference, color=_COLOUR["muted"], linestyle=(0, (4, 3)), linewidth=1)
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.tick_params(axis="y", labelcolor=_COLOUR["ink"])
        axes.invert_yaxis()
        axes.set_xlim(0, min(114.0, 112 * max(max(row.value, (row.bounds or (0, 0))[1]) for row in rows) + 4))
        axes.set_xlabel("accuracy, %")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.grid(axis="x")

    return _figure(draw, title, (_WIDE, 1.0 + 0.34 * len(rows)))


def forest(rows: Sequence[Bar], title: str) -> str:
    """Differences in points with their intervals, coloured by the side of zero that the interval lies on."""

    def draw(axes: Axes) -> None:
        for y, row in enumerate(rows):
            low, high = row.bounds or (row.value, row.value)
            side = "muted" if row.bounds is None else "good" if low > 0 else "bad" if high < 0 else "muted"
            colour = _COLOUR[side]
            axes.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=2.2, solid_capstyle="round")
            axes.plot(100 * row.value, y, "o", color=colour, markersize=6)
        axes.axvline(0, color=_COLOUR["ink"], linewidth=1)
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.tick_params(axis="y", labelcolor=_COLOUR["ink"])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("points")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.grid(axis="x")

    return _figure(draw, title, (_WIDE, 1.0 + 0.34 * len(rows)))


def curves(series: Mapping[str, tuple[ArrayLike, ArrayLike]], title: str) -> str:
    """Metrics against steps: the values faint, their running mean strong.

    Args:
      series: steps and values by the name that the legend shows.
      title: of the figure.

    Returns:
      SVG text.
    """
    heads = {name.partition("/")[0] for name in series}
    names = [name.partition("/")[2] or name if len(heads) == 1 else name for name in series]
    columns = 2 if len(names) > 1 and max(map(len, names)) <= _SHORT else 1

    def draw(axes: Axes) -> None:
        for index, (name, (steps, values)) in enumerate(zip(names, series.values(), strict=True)):
            x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
            window = max(1, len(y) // 25)
            keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MAX_POINTS)).astype(int))
            colour = SERIES[index % len(SERIES)]
            if window > 1:
                axes.plot(x[keep], y[keep], color=colour, linewidth=0.8, alpha=0.3)
            axes.plot(x[keep], _running_mean(y, window)[keep], color=colour, label=name)
            if len(x) == 1:
                axes.plot(x, y, "o", color=colour, markersize=4)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        shown = np.concatenate([np.asarray(values, dtype=float) for _, values in series.values()])
        if np.all(shown > 0) and shown.max() > 200 * shown.min():
            axes.set_yscale("log")
        elif np.nanmax(np.abs(shown), initial=0.0) >= _LARGE:
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(axis="y")
        axes.figure.legend(loc="outside lower left", ncols=columns, handlelength=1.2, columnspacing=1.0)

    # Beneath the curves, so that it neither hides them nor is cut.
    return _figure(draw, title, (_NARROW, 2.5 + 0.22 * -(-len(series) // columns)))


def attribution_by_correctness(helpfulness: ArrayLike, correct: ArrayLike) -> str:
    """How helpful right and wrong practice pairs were: two histograms over the same bins, each of unit area.

    Args:
      helpfulness: the negative attribution of each practice pair, standardised within its task.
      correct: whether the pair is right.

    Returns:
      SVG text.
    """
    values, right = np.asarray(helpfulness, dtype=float), np.asarray(correct, dtype=bool)

    def draw(axes: Axes) -> None:
        low, high = np.quantile(values, [0.005, 0.995])
        bins = np.linspace(low, high, 32).tolist() if low < high else [low - 1, low + 1]
        for name, colour, chosen in (("right", "good", right), ("wrong", "bad", ~right)):
            if chosen.any():
                shown = np.clip(values[chosen], bins[0], bins[-1])
                label = f"{name} ({chosen.sum()})"
                axes.hist(shown, bins, density=True, color=_COLOUR[colour], alpha=0.4, label=label)
                axes.axvline(values[chosen].mean(), color=_COLOUR[colour], linewidth=1.6)
        axes.set_xlabel("helpfulness, standardised within the task")
        axes.set_yticks([])
        axes.legend(loc="upper right")  # the best place takes long to find, and warns of it on a busy machine

    return _figure(draw, "Attribution of right and wrong practice pairs", (_NARROW, 2.7))


def roc(scores: ArrayLike, correct: ArrayLike, task: ArrayLike) -> str:
    """ROC curves of the scorer: the mean of the tasks' own curves, and the one over all pairs."""
    values, right, tasks = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool), np.asarray(task)
    grid = np.linspace(0, 1, 101)
    within = [
        np.interp(grid, *stats.roc_curve(values[tasks == t], right[tasks == t]))
        for t in np.unique(tasks)
        if 0 < right[tasks == t].sum() < (tasks == t).sum()
    ]

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_COLOUR["line"], linewidth=1.2)
        if 0 < right.sum() < len(right):
            area = stats.roc_auc(values, right)
            axes.plot(*_thin(*stats.roc_curve(values, right)), color=_COLOUR["c5"], label=f"all pairs: {area:.2f}")
        if within:
            area = stats.within_task_auc(values, right, tasks)
            mean = np.append(0.0, np.mean(within, axis=0))
            axes.plot(np.append(0.0, grid), mean, color=_COLOUR["accent"], label=f"within a task: {area:.2f}")
        axes.set_xlabel("wrong pairs accepted")
        axes.set_ylabel("right pairs accepted")
        axes.grid()
        if len(axes.lines) > 1:  # with one class alone there is no curve
            axes.legend(loc="lower right", title="area under the curve", title_fontsize=12)

    return _figure(draw, "Scorer: finding the right pairs", (_NARROW, 2.7))


def right_by_weight(weights: ArrayLike, correct: ArrayLike) -> str:
    """Share of right pairs in each eighth of the practice pairs, lightest to heaviest, with intervals."""
    heavy, right = np.asarray(weights, dtype=float), np.asarray(correct, dtype=bool)
    chunks = [chunk for chunk in np.array_split(np.argsort(heavy, kind="stable"), 8) if len(chunk)]

    def draw(axes: Axes) -> None:
        for x, chunk in enumerate(chunks):
            share = right[chunk].mean()
            axes.plot([x, x], 100 * np.array(stats.wilson_interval(share, len(chunk))), color=_COLOUR["accent"])
            axes.plot(x, 100 * share, "o", color=_COLOUR["accent"])
        axes.axhline(100 * right.mean(), color=_COLOUR["muted"], linestyle=(0, (4, 3)), linewidth=1)
        axes.set_xticks(range(len(chunks)), [f"{heavy[chunk].mean():.2f}" for chunk in chunks])
        axes.set_xlabel("mean weight, lightest to heaviest eighth")
        axes.set_ylabel("right pairs, %")
        axes.grid(axis="y")

    return _figure(draw, "Do heavier pairs deserve it?", (_NARROW, 2.8))


def _figure(draw: Callable[[Axes], None], title: str, size: tuple[float, float]) -> str:
    with mpl.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    # The title is the page's text, which breaks lines where there is no room.
    return f"<figcaption>{escape(title)}</figcaption>{_inline(buffer.getvalue(), title)}"


def _inline(svg: str, title: str) -> str:
    """Strips what only a stand-alone file needs, and turns place-holder colours into CSS variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"#0a0b([0-9a-f]{2})", lambda match: f"var(--{_VARIABLES[int(match[1], 16)]})", svg)
    # The page sets the width; the view box keeps the proportions.
    return re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        lambda match: f'<svg role="img" aria-label="{escape(title)}" {match[1]}>',
        svg,
        count=1,
    )


def _running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Mean over the steps around each one, fewer at the ends, leaving out what is not a number."""
    kernel, finite = np.ones(window), np.isfinite(values)
    total = np.convolve(np.where(finite, values, 0.0), kernel, mode="same")
    count = np.convolve(finite.astype(float), kernel, mode="same")
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MAX_POINTS)).astype(int))
    return x[keep], y[keep]
