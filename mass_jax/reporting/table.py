"""The tables of a run, and their Markdown for the docs.

``python -m mass_jax.reporting.table --workdir=runs/demo`` prints them.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mass_jax.reporting.labels import PRACTICE, check_label, label, meaning, pair_label, phase_label
from mass_jax.reporting.run import NOT_EVALUATED, RunError, errors_as_sentences, flatten, load_results
from mass_jax.reporting.targets import judge, points
from mass_jax.results import Accuracy, Difference, Environment, Results, finite

COMMIT = 12
"""Digits of a commit that are shown where there is little room."""
OPEN = {True: "open", False: "shut"}
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


def methods_table(results: Results) -> Table:
    """The paper's table: accuracy of every method, with its interval and its gain over Base."""
    return _accuracies(results, results.methods, "Method")


def controls_table(results: Results) -> Table:
    """The same for the controls."""
    return _accuracies(results, results.controls, "Control")


def paired_table(results: Results) -> Table:
    """Differences over the same problems, in points, with their intervals."""
    rows = [
        (pair_label(name, results), points(entry.diff), span(entry.bounds, signed=True))
        for name, entry in results.paired.items()
    ]
    return Table(("Difference", "Points", "95 % interval"), "lrr", rows)


def log_likelihood_table(results: Results) -> Table:
    """Mean log-probability of the reference's tokens, and the paired difference to Base."""
    rows = []
    for name, mean in results.log_likelihood.items():
        entry = results.paired_log_likelihood.get(f"{name}-base")
        diff, bounds = (entry.diff, entry.bounds) if entry else (None, None)
        cells = [_signed(finite(x)) for x in (mean, diff)]
        low, high = map(_signed, bounds or (None, None))
        rows.append((label(name, results), *cells, "–" if low == "–" else f"{low} to {high}"))
    return Table(("Log-likelihood a token", "Mean", "Over Base", "95 % interval"), "lrrr", rows)


def synthesis_table(results: Results) -> Table:
    """Shares of practice problems that are well-formed, on-family and correct, before and after meta-training."""
    sides = (results.synthesis.before, results.synthesis.after)
    names = dict.fromkeys(name for side in sides for name in side)
    rows = [
        (PRACTICE.get(name, name.replace("_", " ")), *(percent(finite(side.get(name))) for side in sides))
        for name in names
    ]
    return Table(("Practice problems", "Before, %", "After, %"), "lrr", rows)


def decomposition_table(results: Results) -> Table:
    """What the base and every trained model writes, and what it solves un-adapted, at uniform weights, and scored."""
    columns = {"un_adapted": "Un-adapted, %", "uniform": "Uniform weights, %", "scorer": "Own scorer, %"}
    written = {name: f"{words}, %" for name, words in PRACTICE.items() if name != "leak"}
    rows = [
        (
            label(name, results),
            *(percent(finite(found.practice.get(each))) for each in written),
            *(percent(finite(found.accuracy.get(each))) for each in columns),
        )
        for name, found in results.decomposition.items()
    ]
    return Table(("Model", *written.values(), *columns.values()), "l" + "r" * len(written | columns), rows)


def generator_table(results: Results) -> Table:
    """What the generator learned, beside its controls, in per cent; d' as it is."""
    found = results.generator
    rows = [
        (name, percent(finite(found.on_topic.get(name))), percent(finite(share))) for name, share in found.right.items()
    ]
    return Table(("Generator", "On topic, of the well formed, %", "Right, of all, %"), "lrr", rows)


def targets_table(results: Results) -> Table:
    """What the run has to show, and whether it did."""
    rows = [(verdict.claim, verdict.measured, MARKS[verdict.passed]) for verdict in judge(results)]
    return Table(("Target", "Measured", ""), "lrl", rows)


def time_table(results: Results) -> Table:
    """Seconds of every phase that took any, the longest first; the one that writes the page has only begun."""
    timed = sorted(results.timing.phases.items(), key=lambda item: -item[1])
    total = results.timing.total_seconds
    rows = [(phase_label(name, results), f"{seconds:,.1f}") for name, seconds in timed if seconds >= 0.05]
    return Table(("Phase", "Seconds"), "lr", rows + ([("whole run", f"{total:,.1f}")] if total is not None else []))


def invocations_table(results: Results) -> Table:
    """Which program worked when, with which commit and for how long; empty where one did it all."""
    rows = [
        (each.program, each.began, each.commit[:COMMIT], f"{each.seconds:,.1f}") for each in results.timing.invocations
    ]
    return Table(("Program", "Began", "Commit", "Seconds"), "lllr", rows if len(rows) > 1 else [])


def cost_table(results: Results) -> Table:
    """What the run took beside its phases."""
    rows = [
        (phase_label(name, results), f"{number(value)} s") if name.endswith(" (s)") else (name, number(value))
        for name, value in results.cost.items()
    ]
    return Table(("What", "Amount"), "lr", rows)


def checks_table(results: Results) -> Table:
    """The numbers that the verdicts rest on."""
    rows = [(check_label(name), number(value)) for name, value in flatten(results.checks) if name]
    return Table(("Check", "Value"), "lr", rows)


def gate_table(results: Results) -> Table:
    """The headroom: accuracies, and gains in points."""
    return _headroom(results, results.gate)


def choice_table(results: Results) -> Table:
    """What a domain with a choice has to show, and whether it does."""
    rows = [
        (
            f"({name})",
            gate.asks,
            ", ".join(f"{what} {percent(finite(share))} %" for what, share in gate.found.items()),
            OPEN[gate.open],
        )
        for name, gate in results.choice.gates.items()
    ]
    return Table(("Gate", "Asks", "Found", ""), "llll", rows)


def choice_rows_table(results: Results) -> Table:
    """By what it was judged: accuracies, and gains in points."""
    return _headroom(results, results.choice.rows)


def environment_table(results: Results) -> Table:
    """What the evaluation ran on and with."""
    made = results.environment or Environment()
    devices, cpu = made.devices, made.cpu
    many = f", {devices.processes} processes" if devices.processes > 1 else ""
    changed = " with uncommitted changes" if made.uncommitted else ""
    rows = [
        ("Commit", f"{made.commit or '–'}{changed}"),
        ("Evaluated", made.date or "–"),
        ("Devices", f"{number(devices.count)} × {devices.kind or '–'}{many}"),
        ("Processor", f"{cpu.model or '–'}, {number(cpu.cores)} cores"),
        ("Python", made.python or "–"),
        *((name, version or "–") for name, version in made.packages.items()),
    ]
    return Table(("Made with", ""), "ll", rows)


def overrides_table(results: Results) -> Table:
    """What each arm was trained with where it differs from the config."""
    rows = [
        (label(name, results), ", ".join(f"{field} = {value}" for field, value in arm.overrides.items()))
        for name, arm in results.arms.items()
    ]
    return Table(("Arm", "Overrides"), "ll", rows)


def ordered(names: Iterable[str], results: Results) -> list[str]:
    """Names of rows, in the order of the labels; those without one last."""
    order = [*results.labels]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


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


def _accuracies(results: Results, entries: Mapping[str, Accuracy], heading: str) -> Table:
    base, rows = results.methods.get("base"), []
    for name in ordered(entries, results):
        entry = entries[name]
        share = finite(entry.accuracy)
        gain = "–" if share is None or base is None else points(share - base.accuracy)
        asked = "–" if entry.n is None else str(entry.n)
        asked += f" ({entry.not_judged} not judged, taken as wrong)" if entry.not_judged else ""
        cells = (percent(share), span(entry.bounds), gain, asked)
        rows.append((label(name, results), meaning(name, results), *cells))
    return Table((heading, "What it is", "Accuracy, %", "95 % interval", "Over Base", "n"), "llrrrr", rows)


def _headroom(results: Results, entries: Mapping[str, Accuracy | Difference]) -> Table:
    rows = []
    for name, entry in entries.items():
        if isinstance(entry, Accuracy):
            count = "" if entry.n is None else str(entry.n)
            rows.append((label(name, results), f"{percent(entry.accuracy)} %", span(entry.bounds), count))
        else:
            rows.append((pair_label(name, results), f"{points(entry.diff)} points", span(entry.bounds, True), ""))
    return Table(("On validation families", "Measured", "95 % interval", "n"), "lrrr", rows)


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def span(bounds: tuple[float, float] | None, signed: bool = False) -> str:
    """An interval of shares in per cent, or of differences in points."""
    if bounds is None:
        return "–"
    low, high = (points(bound) if signed else percent(bound) for bound in bounds)
    return f"{low} to {high}"


def main() -> None:
    """Prints the tables of a run as Markdown."""
    parser = argparse.ArgumentParser("python -m mass_jax.reporting.table", description=main.__doc__)
    parser.add_argument("--workdir", required=True, help="the run directory")
    with errors_as_sentences():
        print_tables(parser.parse_args().workdir)


def print_tables(workdir: str) -> None:
    """Prints the tables of a run.

    Raises:
      RunError: there is no such run, it has no tables yet, or its results cannot be read.
    """
    results = load_results(workdir)
    tables = (methods_table, controls_table, paired_table, log_likelihood_table, targets_table, synthesis_table)
    found = [table for build in (*tables, time_table) if (table := build(results)).rows]
    if not found:
        raise RunError(NOT_EVALUATED.format(workdir))
    for table in found:
        print(to_markdown(table), end="\n\n")


if __name__ == "__main__":
    main()
