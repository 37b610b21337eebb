"""The page of a run: one self-contained HTML file, made from the files in the run's directory.

``python -m mass_jax.reporting.report --workdir=runs/demo`` writes ``runs/demo/report.html``.
"""

import argparse
import logging
import re
from collections.abc import Callable
from html import escape
from pathlib import Path

from mass_jax.reporting import html, sections
from mass_jax.reporting.labels import label
from mass_jax.reporting.run import Run, RunError, errors_as_sentences, load_run
from mass_jax.reporting.table import COMMIT, number, percent
from mass_jax.reporting.targets import judge, points
from mass_jax.reporting.writing import replace
from mass_jax.results import Environment, finite

SECTIONS: tuple[tuple[str, str, Callable[[Run], str]], ...] = (
    ("methods", "Methods", sections.methods),
    ("paired", "Paired differences", sections.paired),
    ("targets", "Targets and checks", sections.targets),
    ("controls", "Controls", sections.controls),
    ("learning", "Learning curves", sections.learning),
    ("generator", "What the generator learned", sections.generator),
    ("synthesis", "Practice problems", sections.synthesis),
    ("attribution", "Attribution and scorer", sections.attribution),
    ("examples", "Test problems, one by one", sections.examples),
    ("cost", "Time and cost", sections.cost),
    ("gate", "Headroom", sections.gate),
    ("made", "What made this run", sections.made),
    ("config", "Configuration", sections.config),
)

EARLIER = (
    "These results are of an earlier version, which did not say what rows are called and which one a run is "
    "about: evaluate the run again."
)


def write_report(workdir: str | Path) -> Path:
    """Writes the page of a run.

    What is missing in the directory is named on the page; a section that cannot be drawn says why and leaves the others
    alone, because a long run must not lose its report to one bad file.

    Args:
      workdir: the run directory.

    Returns:
      The path of ``report.html`` in it.

    Raises:
      RunError: if the directory does not exist, or holds nothing of a run.
      OSError: if the page cannot be written; the one before it is as it was.
    """
    return _write(load_run(workdir))


def _write(run: Run) -> Path:
    path = run.workdir / "report.html"
    replace(path, _page(run))
    return path


def _page(run: Run) -> str:
    parts = [(name, title, _guarded(build, run)) for name, title, build in SECTIONS]
    return html.page(f"MASS: {run.workdir.name}", "Meta-Adaptation with Self-Synthesis", _headline(run), parts)


def _guarded(build: Callable[[Run], str], run: Run) -> str:
    try:
        return build(run)
    except Exception as error:
        logging.exception("A section of the report could not be drawn.")
        return f'<p class="missing">This section could not be drawn: {escape(f"{type(error).__name__}: {error}")}</p>'


def summary(workdir: str | Path) -> str:
    """The main result of a run in two lines: the row that it is about over Base, and the oracle.

    Raises:
      RunError: if the directory does not exist, or holds nothing of a run.
    """
    run = load_run(workdir)
    results, rows = run.results, run.results.methods | run.results.controls
    name = next(iter(results.targets.gains), "")
    oracle, base = rows.get(name), rows.get("base")
    if oracle is None or base is None:
        return _lead(run)
    recovered = results.checks.get("oracle_gain_recovered")
    main = label(results.headline or "", results)
    share = f"; {main} recovers {100 * recovered:.0f} % of that" if isinstance(recovered, float) else ""
    gain = points(oracle.accuracy - base.accuracy)
    return f"{_lead(run)}\n{label(name, results)} solves {percent(oracle.accuracy)} %: {gain} points{share}."


def _lead(run: Run) -> str:
    """One sentence with the main result."""
    results, name = run.results, run.results.headline or ""
    row, base = results.methods.get(name), results.methods.get("base")
    if row is None or base is None or finite(row.accuracy) is None or finite(base.accuracy) is None:
        both = f"both {label(name, results)} and {label('base', results)}" if name else "a trained arm"
        lead = run.missing.get("results.json", f"This run has not measured {both}.")
        if results.methods and not results.labels:
            lead = EARLIER
    else:
        solved = f"{percent(row.accuracy)} % of {number(row.n)} test problems"
        lead = f"{label(name, results)} solves {solved}, {label('base', results)} {percent(base.accuracy)} %"
        pair = results.paired.get(f"{name}-base")
        if pair is not None and pair.bounds is not None:
            low, high = pair.bounds
            lead += f": {points(pair.diff)} points, 95 % interval {points(low)} to {points(high)}"
        lead += "."
    return lead


def _headline(run: Run) -> str:
    """The main result, and what identifies the run."""
    results = run.results
    verdicts = [verdict.passed for verdict in judge(results)]
    total, commit = results.timing.total_seconds, results.commit or ""
    made = results.environment or Environment()
    devices = made.devices
    facts = {
        "targets reached": f"{verdicts.count(True)} of {len(verdicts)}" if verdicts else None,
        "seed": results.seed,
        "time": None if total is None else f"{total / 60:.1f} min",
        "commit": commit[:COMMIT] if re.fullmatch("[0-9a-f]{40}", commit) else commit or None,
        "date": (made.date or "")[:10] or None,
        "device": None if not devices.kind else f"{devices.count or 1} × {devices.kind}",
        "run": run.workdir.name,
    }
    chips = "".join(
        f'<span class="chip">{escape(name)} {escape(str(value))}</span>'
        for name, value in facts.items()
        if value is not None
    )
    return f'<p class="lead">{escape(_lead(run))}</p><div>{chips}</div>'


def main() -> None:
    """Writes the page of a run and prints where it is."""
    parser = argparse.ArgumentParser("python -m mass_jax.reporting.report", description=main.__doc__)
    parser.add_argument("--workdir", required=True, help="the run directory")
    workdir = parser.parse_args().workdir
    with errors_as_sentences():
        run = load_run(workdir)
        print(_write(run))
        if run.damaged:
            raise RunError("The page is incomplete. " + " ".join(run.missing[name] for name in run.damaged))


if __name__ == "__main__":
    main()
