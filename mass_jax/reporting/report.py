"""The page of a run: one self-contained HTML file, made from the files in the run's directory.

``python -m mass_jax.reporting.report --workdir=runs/demo`` writes ``runs/demo/report.html``.
"""

import argparse
import logging
import os
import re
from collections.abc import Callable
from html import escape
from pathlib import Path

from mass_jax.reporting import sections
from mass_jax.reporting.labels import label
from mass_jax.reporting.run import Run, RunError, dig, errors_as_sentences, interval, load_run
from mass_jax.reporting.table import COMMIT, number, percent
from mass_jax.reporting.targets import judge, points, trained_arm

SECTIONS: tuple[tuple[str, str, Callable[[Run], str]], ...] = (
    ("methods", "Methods", sections.methods),
    ("paired", "Paired differences", sections.paired),
    ("targets", "Targets and checks", sections.targets),
    ("controls", "Controls", sections.controls),
    ("learning", "Learning curves", sections.learning),
    ("synthesis", "Practice problems", sections.synthesis),
    ("attribution", "Attribution and scorer", sections.attribution),
    ("examples", "Test problems, one by one", sections.examples),
    ("cost", "Time and cost", sections.cost),
    ("gate", "Headroom", sections.gate),
    ("made", "What made this run", sections.made),
    ("config", "Configuration", sections.config),
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
      RunError: if the directory does not exist.
      OSError: if the page cannot be written; the one before it is as it was.
    """
    return _write(load_run(workdir))


def _write(run: Run) -> Path:
    path, text = run.workdir / "report.html", _page(run)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:  # that of a full disk names no file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _page(run: Run) -> str:
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in SECTIONS)
    body = "".join(
        f'<section id="{name}"><h2>{escape(title)}</h2>{_guarded(build, run)}</section>'
        for name, title, build in SECTIONS
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>MASS: {escape(run.workdir.name)}</title><style>{style}</style></head><body>"
        f"<header><h1>Meta-Adaptation with Self-Synthesis</h1>{_headline(run)}<nav>{links}</nav></header>"
        f"<main>{body}</main><footer>Made from the files of this run by mass_jax.reporting; "
        "no number was typed by hand.</footer></body></html>\n"
    )


def _guarded(build: Callable[[Run], str], run: Run) -> str:
    try:
        return build(run)
    except Exception as error:
        logging.exception("A section of the report could not be drawn.")
        return f'<p class="missing">This section could not be drawn: {escape(f"{type(error).__name__}: {error}")}</p>'


def summary(workdir: str | Path) -> str:
    """The main result of a run in two lines: the arm that it is about over Base, and the oracle.

    Raises:
      RunError: if the directory does not exist.
    """
    run = load_run(workdir)
    oracle, base = (
        dig(run.results, *row, "accuracy") for row in (("controls", "oracle_gold_family"), ("methods", "base"))
    )
    if oracle is None or base is None:
        return _lead(run)
    recovered = dig(run.results, "checks", "oracle_gain_recovered")
    share = (
        ""
        if recovered is None
        else f"; {label(trained_arm(run.results), run.results)} recovers {100 * recovered:.0f} % of that"
    )
    name = label("oracle_gold_family", run.results)
    return f"{_lead(run)}\n{name} solves {percent(oracle)} %: {points(oracle - base)} points{share}."


def _lead(run: Run) -> str:
    """One sentence with the main result."""
    arm = trained_arm(run.results)
    mass, base = (dig(run.results, "methods", name, "accuracy") for name in (arm, "base"))
    count = dig(run.results, "methods", arm, "n")
    if mass is None or base is None:
        lead = run.missing.get("results.json", f"This run has not measured both {label(arm, run.results)} and Base.")
    else:
        solved = f"{percent(mass)} % of {number(count and int(count))} test problems"
        lead = f"{label(arm, run.results)} solves {solved}, Base {percent(base)} %"
        pair = (run.results.get("paired") or {}).get(f"{arm}-base")
        bounds, diff = interval(pair), dig(pair, "diff")
        if bounds is not None and diff is not None:
            lead += f": {points(diff)} points, 95 % interval {points(bounds[0])} to {points(bounds[1])}"
        lead += "."
    return lead


def _headline(run: Run) -> str:
    """The main result, and what identifies the run."""
    verdicts = [verdict.passed for verdict in judge(run.results)]
    total = dig(run.results, "timing", "total_seconds")
    commit, made = str(run.results.get("commit") or ""), run.results.get("environment") or {}
    devices = made.get("devices") or {}
    facts = {
        "targets reached": f"{verdicts.count(True)} of {len(verdicts)}",
        "seed": run.results.get("seed"),
        "time": None if total is None else f"{total / 60:.1f} min",
        "commit": commit[:COMMIT] if re.fullmatch("[0-9a-f]{40}", commit) else commit or None,
        "date": str(made.get("date") or "")[:10] or None,
        "device": None if not devices.get("kind") else f"{devices.get('count', 1)} × {devices['kind']}",
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
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--workdir", required=True, help="the run directory")
    workdir = parser.parse_args().workdir
    with errors_as_sentences():
        run = load_run(workdir)
        print(_write(run))
        if run.damaged:
            raise RunError("The page is incomplete. " + " ".join(run.missing[name] for name in run.damaged))


if __name__ == "__main__":
    main()
