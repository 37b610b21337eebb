"""A page of several runs: what each solves, what its generator learned, and where their configurations differ.

``python -m mass_jax.reporting.comparison runs/a runs/b runs/c --out=runs/comparison.html``

Runs that differ in their seed alone are one column: means over seeds, with 95 % intervals by Student's t. Such an
interval is over trainings; that of a single run is over families.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mass_jax.reporting import html, plots
from mass_jax.reporting.labels import label, pair_label
from mass_jax.reporting.run import NOT_EVALUATED, Run, RunError, errors_as_sentences, flatten, load_run
from mass_jax.reporting.sections import LEARNED, curve
from mass_jax.reporting.stats import mean_interval
from mass_jax.reporting.table import Table, ordered, percent, span
from mass_jax.reporting.targets import points
from mass_jax.reporting.writing import replace
from mass_jax.results import Accuracy, Difference, Results, finite


class Column(NamedTuple):
    """Runs that differ in their seed alone.

    Attributes:
      name: that of the one run, or of the first with the number of seeds.
      runs: in the order of their seeds.
    """

    name: str
    runs: tuple[Run, ...]


def columns(runs: Sequence[Run]) -> list[Column]:
    """The runs, those of one configuration together, in the order in which they were given.

    Raises:
      RunError: a run was given twice, or has no results.
    """
    groups: dict[str, list[list[Run]]] = {}
    for place, run in enumerate(runs):
        if "results.json" in run.missing:  # what does not fit is left out, and might be what tells runs apart
            raise RunError(f"'{run.workdir}': {run.missing['results.json']}")
        if not run.results.methods:
            raise RunError(NOT_EVALUATED.format(run.workdir))
        if any(run.workdir.samefile(other.workdir) for other in runs[:place]):
            raise RunError(f"'{run.workdir}' is given twice, and its numbers would count twice: give it once.")
        given = {name: value for name, value in run.results.config.items() if name != "seed"}
        # Of runs that do not say their configurations nobody knows whether they are alike.
        alike = groups.setdefault(json.dumps(given, sort_keys=True) if given else str(run.workdir), [])
        # Another run of the same seed is no other draw: on another machine, say, or of another version of the code.
        if not alike or any(run.results.seed == other.results.seed for other in alike[-1]):
            alike.append([])
        alike[-1].append(run)
    found = [group for alike in groups.values() for group in alike]
    names = [group[0].workdir.resolve().name for group in found]
    if len(set(names)) < len(names):
        names = [str(group[0].workdir) for group in found]
    several = [f", {len(group)} seeds" if len(group) > 1 else "" for group in found]
    ordered_by_seed = [tuple(sorted(group, key=lambda run: run.results.seed or 0)) for group in found]
    return [Column(name + many, group) for name, many, group in zip(names, several, ordered_by_seed, strict=True)]


def accuracies(found: Sequence[Column], part: Callable[[Results], dict[str, Accuracy]], heading: str) -> Table:
    """Accuracies of one part of the results, a column each."""
    rows = []
    for name in _names(found, part):
        cells = [_cell([part(run.results).get(name) for run in each.runs], percent, signed=False) for each in found]
        rows.append((_label(name, found), *cells))
    return Table((heading, *(each.name for each in found)), "l" + "r" * len(found), rows)


def differences(found: Sequence[Column]) -> Table:
    """Paired differences, in points."""
    rows = []
    for name in _names(found, lambda results: results.paired):
        cells = [_cell([run.results.paired.get(name) for run in each.runs], points, signed=True) for each in found]
        rows.append((pair_label(name, _results(found, name)), *cells))
    return Table(("Difference, in points", *(each.name for each in found)), "l" + "r" * len(found), rows)


def settings(found: Sequence[Column]) -> Table:
    """The fields of the configurations that are not the same everywhere; seeds within a column aside."""
    given = [dict(flatten(each.runs[0].results.config)) for each in found]
    names = dict.fromkeys(name for values in given for name in values if name != "seed")
    rows = [
        (name, *(_text(values.get(name)) for values in given))
        for name in names
        if len({_text(values.get(name)) for values in given}) > 1
    ]
    seeds = ("seed", *(", ".join(_text(run.results.seed) for run in each.runs) for each in found))
    return Table(("Field", *(each.name for each in found)), "l" * (1 + len(found)), [seeds, *rows])


def page(runs: Sequence[Run]) -> str:
    """The page, as one self-contained HTML file.

    Raises:
      RunError: a run was given twice, or has no results.
    """
    found = columns(runs)
    paired = differences(found)
    parts = [
        ("methods", "Methods", html.wide(_bars(found)) + html.table(accuracies(found, lambda r: r.methods, "Method"))),
        ("controls", "Controls", html.table(accuracies(found, lambda r: r.controls, "Control"))),
        ("paired", "Paired differences", html.folded(f"{len(paired.rows)} differences", html.table(paired))),
        ("generator", "What the generators learned", _generator(found)),
        ("settings", "Where the configurations differ", html.table(settings(found), compact=True)),
    ]
    several = any(len(each.runs) > 1 for each in found)
    spread = "over seeds where there are several, over families otherwise" if several else "over families"
    whose = "one configuration" if len(found) == 1 else f"{len(found)} configurations"
    lead = f'<p class="lead">{len(runs)} runs of {whose}. 95 % intervals are {spread}.</p>'
    return html.page("MASS: a comparison", "A comparison of runs", lead, parts)


def _bars(found: Sequence[Column]) -> str:
    """Each column's headline, and Base once."""
    rows = []
    for each in found:
        main = each.runs[0].results.headline or ""
        for name in ("base", main):
            entries = [run.results.methods[name] for run in each.runs if name in run.results.methods]
            if entries:
                mean, bounds = _mean(entries)
                rows.append(plots.Bar(f"{_label(name, found)}, {each.name}", mean, bounds, name == main))
    return plots.bars(rows, "Accuracy on held-out problems")


def _generator(found: Sequence[Column]) -> str:
    """Curves of the headlines, means over seeds, and the shares at the end."""
    figures = ""
    for metric, title in LEARNED.items():
        lines = {}
        for each in found:
            of_runs = [
                curve(run, run.results.headline, metric) for run in each.runs if run.results.headline in run.metrics
            ]
            by_step = [dict(zip(*one, strict=True)) for one in of_runs]
            steps = sorted(set.intersection(*map(set, by_step))) if by_step else []
            if steps:
                lines[each.name] = steps, [float(np.mean([one[step] for one in by_step])) for step in steps]
        figures += f"<figure>{plots.curves(lines, title)}</figure>" if lines else ""
    names = dict.fromkeys(name for each in found for run in each.runs for name in run.results.generator.right)
    rows = []
    for name in names:
        shares = [[finite(run.results.generator.right.get(name)) for run in each.runs] for each in found]
        rows.append((name, *(_share([share for share in one if share is not None]) for one in shares)))
    table = Table(("Right practice, %", *(each.name for each in found)), "l" + "r" * len(found), rows)
    note = html.note("'Before' is the base and 'after' the headline's model; the other rows are its controls.")
    return f'<div class="grid">{figures}</div>' + (note + html.table(table, compact=True) if rows else "")


def _names(found: Sequence[Column], part: Callable[[Results], Iterable[str]]) -> list[str]:
    """Of all rows that any run has, in the order of the labels of the first."""
    names = dict.fromkeys(name for each in found for run in each.runs for name in part(run.results))
    return ordered(names, found[0].runs[0].results)


def _results(found: Sequence[Column], name: str) -> Results:
    """Those that say what a row is called."""
    every = [run.results for each in found for run in each.runs]
    return next((results for results in every if name.split("-")[0] in results.labels), every[0])


def _label(name: str, found: Sequence[Column]) -> str:
    return label(name, _results(found, name))


def _mean(entries: Sequence[Accuracy | Difference]) -> tuple[float, tuple[float, float] | None]:
    """The one value with its own interval, or the mean of several with that over seeds."""
    values = [entry.accuracy if isinstance(entry, Accuracy) else entry.diff for entry in entries]
    if len(values) == 1:
        return values[0], entries[0].bounds
    mean, interval = mean_interval(values)
    return mean, None if interval is None else (interval[0], interval[1])


def _cell(entries: Sequence[Accuracy | Difference | None], written: Callable[[float], str], signed: bool) -> str:
    there = [entry for entry in entries if entry is not None]
    if not there:
        return "–"
    mean, bounds = _mean(there)
    few = f", of {len(there)}" if len(there) < len(entries) else ""
    return f"{written(mean)} ({span(bounds, signed)}{few})"


def _share(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean, interval = mean_interval(values)
    return percent(mean) + (f" ({span((interval[0], interval[1]))})" if interval else "")


def _text(value: object) -> str:
    return "–" if value is None else str(value)


def _path(text: str) -> Path:
    if not text:  # of a shell's variable that is not set; `Path` would take it as the folder that this is called in
        raise argparse.ArgumentTypeError("it is empty: give a name")
    return Path(text)


def main() -> None:
    """Writes a page of several runs, and prints where it is."""
    parser = argparse.ArgumentParser(prog="python -m mass_jax.reporting.comparison", description=main.__doc__)
    parser.add_argument("runs", type=_path, nargs="+", help="run directories; those that differ in their seed are one")
    parser.add_argument("--out", type=_path, default=Path("comparison.html"), help="the page (default: %(default)s)")
    asked = parser.parse_args()
    with errors_as_sentences():
        replace(asked.out, page([load_run(run) for run in asked.runs]))
        print(asked.out)


if __name__ == "__main__":
    main()
