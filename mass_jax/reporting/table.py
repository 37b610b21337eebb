"""The tables of a run, and their Markdown for the docs.

``python -m mass_jax.reporting.table --workdir=runs/demo`` prints them.
"""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mass_jax.reporting.labels import CONTROLS, METHODS, check_label, label, meaning, pair_label, phase_label
from mass_jax.reporting.run import RunError, dig, errors_as_sentences, flatten, interval, load_run
from mass_jax.reporting.targets import judge, points

COMMIT = 12
"""Digits of a commit that are shown where there is little room."""
MARKS = {True: "reached", False: "missed", None: "–"}


class Table(NamedTuple):
    """A table of text.

    Attributes:
      columns: the headings.
      align: one letter per column, ``l`` or ``r``.
      rows: one tuple of cells per row.
    """

    columns: tuple[str, ...]
    align: str
    rows: Sequence[tuple[str, ...]]


def methods_table(results: dict[str, Any]) -> Table:
    """The paper's table: accuracy of every method, with its interval and its gain over Base."""
    return _accuracies(results, "methods", METHODS, "Method")


def controls_table(results: dict[str, Any]) -> Table:
    """The same for the controls."""
    return _accuracies(results, "controls", CONTROLS, "Control")


def paired_table(results: dict[str, Any]) -> Table:
    """Differences over the same problems, in points, with their intervals."""
    rows = []
    for name, entry in (results.get("paired") or {}).items():
        bounds, diff = interval(entry), dig(entry, "diff")
        rows.append((pair_label(name, results), "–" if diff is None else points(diff), _range(bounds, signed=True)))
    return Table(("Difference", "Points", "95 % interval"), "lrr", rows)


def log_likelihood_table(results: dict[str, Any]) -> Table:
    """Mean log-probability of the reference's tokens, and the paired difference to Base."""
    rows = []
    for name, value in (results.get("log_likelihood") or {}).items():
        entry = (results.get("paired_log_likelihood") or {}).get(f"{name}-base")
        bounds, diff, mean = interval(entry), dig(entry or {}, "diff"), dig({"x": value}, "x")
        cells = ("–" if x is None else f"{x:+.3f}".replace("-", "−") for x in (mean, diff))
        low, high = (f"{bound:+.3f}".replace("-", "−") for bound in bounds) if bounds else ("–", "–")
        rows.append((label(name, results), *cells, "–" if bounds is None else f"{low} to {high}"))
    return Table(("Log-likelihood a token", "Mean", "Over Base", "95 % interval"), "lrrr", rows)


def synthesis_table(results: dict[str, Any]) -> Table:
    """Shares of practice problems that are well-formed, on-family and correct, before and after meta-training."""
    synthesis = results.get("synthesis") or {}
    names = dict.fromkeys(name for side in ("before", "after") for name in synthesis.get(side) or {})
    rows = [
        (name.replace("_", " "), *(percent(dig(synthesis, side, name)) for side in ("before", "after")))
        for name in names
    ]
    return Table(("Practice problems", "Before, %", "After, %"), "lrr", rows)


def targets_table(results: dict[str, Any]) -> Table:
    """What the run has to show, and whether it did."""
    rows = [(verdict.claim, verdict.measured, MARKS[verdict.passed]) for verdict in judge(results)]
    return Table(("Target", "Measured", ""), "lrl", rows)


def time_table(results: dict[str, Any]) -> Table:
    """Seconds of every phase, the longest first."""
    phases = [(name, dig({"x": value}, "x")) for name, value in flatten((results.get("timing") or {}).get("phases"))]
    timed = sorted(((name, s) for name, s in phases if s is not None), key=lambda item: -item[1])
    total = dig(results, "timing", "total_seconds")
    rows = [(phase_label(name, results), f"{seconds:,.1f}") for name, seconds in timed]
    return Table(("Phase", "Seconds"), "lr", rows + ([("whole run", f"{total:,.1f}")] if total is not None else []))


def invocations_table(results: dict[str, Any]) -> Table:
    """Which program worked when, with which commit and for how long; empty where one did it all."""
    invocations = (results.get("timing") or {}).get("invocations") or []
    rows = [
        (str(row.get("program", "–")), str(row.get("began", "–")), str(row.get("commit", "–"))[:COMMIT],
         f"{dig(row, 'seconds') or 0.0:,.1f}")
        for row in invocations
    ]  # fmt: skip
    return Table(("Program", "Began", "Commit", "Seconds"), "lllr", rows if len(rows) > 1 else [])


def cost_table(results: dict[str, Any]) -> Table:
    """What the run took beside its phases."""
    rows = [
        (phase_label(name, results), f"{number(value)} s") if name.endswith(" (s)") else (name, number(value))
        for name, value in flatten(results.get("cost") or {})
    ]
    return Table(("What", "Amount"), "lr", rows)


def checks_table(results: dict[str, Any]) -> Table:
    """The numbers that the verdicts rest on."""
    rows = [(check_label(name), number(value)) for name, value in flatten(results.get("checks") or {}) if name]
    return Table(("Check", "Value"), "lr", rows)


def gate_table(results: dict[str, Any]) -> Table:
    """The headroom: accuracies, and gains in points."""
    rows = []
    for name, entry in (results.get("gate") or {}).items():
        share, diff, count = (dig(entry, key) for key in ("accuracy", "diff", "n"))
        if diff is not None:
            cells = (pair_label(name, results), f"{points(diff)} points", _range(interval(entry), signed=True), "")
        elif share is not None:
            bounds = _range(interval(entry))
            cells = (label(name, results), f"{percent(share)} %", bounds, "" if count is None else f"{count:.0f}")
        else:
            cells = (label(name, results), number(entry), "", "")
        rows.append(cells)
    return Table(("On validation families", "Measured", "95 % interval", "n"), "lrrr", rows)


def environment_table(results: dict[str, Any]) -> Table:
    """What the evaluation ran on and with."""
    made = results.get("environment") or {}
    devices, cpu, packages = (made.get(name) or {} for name in ("devices", "cpu", "packages"))
    many = f", {devices['processes']} processes" if devices.get("processes", 1) > 1 else ""
    changed = " with uncommitted changes" if made.get("uncommitted") else ""
    rows = [
        ("Commit", f"{made.get('commit', '–')}{changed}"),
        ("Evaluated", str(made.get("date", "–"))),
        ("Devices", f"{devices.get('count', '–')} × {devices.get('kind', '–')}{many}"),
        ("Processor", f"{cpu.get('model') or '–'}, {cpu.get('cores', '–')} cores"),
        ("Python", str(made.get("python", "–"))),
        *((str(name), str(version or "–")) for name, version in packages.items()),
    ]
    return Table(("Made with", ""), "ll", rows)


def overrides_table(results: dict[str, Any]) -> Table:
    """What each arm was trained with where it differs from the config."""
    rows = [
        (label(name, results), ", ".join(f"{field} = {value}" for field, value in (arm.get("overrides") or {}).items()))
        for name, arm in (results.get("arms") or {}).items()
    ]
    return Table(("Arm", "Overrides"), "ll", rows)


def to_markdown(table: Table) -> str:
    """A table in GitHub's Markdown."""
    rule = {"l": "---", "r": "---:"}
    lines: list[Iterable[str]] = [table.columns, [rule[letter] for letter in table.align], *table.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def percent(share: float | None) -> str:
    """A share in percent."""
    return "–" if share is None else f"{100 * share:.1f}"


def number(value: Any) -> str:
    """Any leaf of a JSON file as a reader wants it."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case int():
            return f"{value:,}"
    return str(value)


def _accuracies(results: dict[str, Any], key: str, order: dict[str, tuple[str, str]], heading: str) -> Table:
    entries = results.get(key) or {}
    base = dig(results, "methods", "base", "accuracy")
    rows = []
    for name in [*(name for name in order if name in entries), *(name for name in entries if name not in order)]:
        share, count = dig(entries, name, "accuracy"), dig(entries, name, "n")
        gain = "–" if share is None or base is None else points(share - base)
        asked, missing = "–" if count is None else f"{count:.0f}", dig(entries, name, "not_judged")
        asked += f" ({missing:.0f} not judged, taken as wrong)" if missing else ""
        cells = (percent(share), _range(interval(entries[name])), gain, asked)
        rows.append((label(name, results), meaning(name, results), *cells))
    return Table((heading, "What it is", "Accuracy, %", "95 % interval", "Over Base", "n"), "llrrrr", rows)


def _range(bounds: tuple[float, float] | None, signed: bool = False) -> str:
    if bounds is None:
        return "–"
    low, high = (points(bound) if signed else percent(bound) for bound in bounds)
    return f"{low} to {high}"


def main() -> None:
    """Prints the tables of a run as Markdown."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--workdir", required=True, help="the run directory")
    with errors_as_sentences():
        print_tables(parser.parse_args().workdir)


def print_tables(workdir: str) -> None:
    """Prints the tables of a run.

    Raises:
      RunError: there is no such run, or its results cannot be read.
    """
    run = load_run(workdir)
    if "results.json" in run.missing:
        raise RunError(run.missing["results.json"])
    tables = (methods_table, controls_table, paired_table, log_likelihood_table, targets_table, synthesis_table)
    for build in (*tables, time_table):
        table = build(run.results)
        if table.rows:
            print(to_markdown(table), end="\n\n")


if __name__ == "__main__":
    main()
