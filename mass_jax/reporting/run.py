"""Reading a run directory: the files that are there, and a sentence for each that is missing."""

import contextlib
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mass_jax import records
from mass_jax.results import Results, parse

FILES = ("results.json", "examples.jsonl", "scorer.json")
"""Of a run as a whole."""
NAMED = 4
"""Runs that are named, of all below a directory that is none."""
NOT_EVALUATED = (
    "'{}' has no tables yet, for nothing in it is evaluated: finish it by the command that it was started with, or "
    "evaluate what is trained by python -m experiments.evaluate with the same --config and --workdir."
)


class RunError(FileNotFoundError):
    """There is no run, or not enough of one."""


@contextlib.contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Prints what a person can put right without a traceback, and exits with status 2; with 130 on Ctrl-C."""
    try:
        yield
    except RunError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        place = "The file" if error.filename is None else f"'{error.filename}'"
        print(
            f"{place} cannot be read or written ({error.strerror or error}): make room, or give another path that you "
            "may read and write.",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("Interrupted: nothing was changed. The same command does it again.", file=sys.stderr)
        raise SystemExit(130) from None


@dataclass(frozen=True)
class Run:
    """The files of one run.

    Attributes:
      workdir: the run directory.
      results: ``results.json``, the parts that are there and fit.
      metrics: the rows of ``<arm>/metrics.jsonl`` by arm, one dictionary a step.
      examples: ``examples.jsonl``: test problems with their practice sets.
      scorer: ``scorer.json``: parallel lists over practice examples. Empty if missing.
      missing: a sentence for every file that is absent or could not be read, by file name.
      damaged: the names of those that are there and could not be read.
    """

    workdir: Path
    results: Results = field(default_factory=Results)
    metrics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    scorer: dict[str, list[Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


def load_run(workdir: str | Path) -> Run:
    """Reads a run directory; a missing or broken file is noted, not fatal.

    Args:
      workdir: the directory that ``--workdir`` of the run named.

    Returns:
      The run.

    Raises:
      RunError: if the directory does not exist, or holds none of these files.
    """
    root = Path(workdir)
    if not str(workdir) or not root.is_dir():
        raise RunError(f"There is no run directory '{workdir}': give the --workdir of a run.")
    arms = sorted(root.glob("*/metrics.jsonl"), key=lambda path: path.stat().st_mtime)
    if not arms and not any((root / name).exists() for name in FILES):
        raise RunError(_no_run(root))
    damaged: list[str] = []
    missing: dict[str, str] = {}
    metrics = {path.parent.name: _read_lines(path, root, missing, damaged) for path in arms}
    if not metrics:
        missing["metrics.jsonl"] = "No arm has written a metrics.jsonl: nothing was trained in this directory."
    results, faults = parse(_read_object(root / "results.json", missing, damaged))
    if faults:
        damaged.append("results.json")
        missing["results.json"] = f"results.json does not fit in {' and '.join(faults)}: evaluate the run again."
    return Run(
        workdir=root,
        results=results,
        metrics={arm: rows for arm, rows in metrics.items() if rows},
        examples=_read_lines(root / "examples.jsonl", root, missing, damaged),
        scorer=_read_object(root / "scorer.json", missing, damaged),
        missing=missing,
        damaged=damaged,
    )


def load_results(workdir: str | Path) -> Results:
    """The results of a run, whole.

    Raises:
      RunError: there is no such run, or its results are not there or cannot be read.
    """
    run = load_run(workdir)
    if "results.json" in run.missing:
        raise RunError(f"'{run.workdir}': {run.missing['results.json']}")
    return run.results


def dig(tree: Any, *path: str) -> float | None:
    """The number at a path of nested dictionaries, or None where the path ends early or holds no finite number."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return float(tree) if isinstance(tree, int | float) and math.isfinite(tree) else None


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries as ``("outer.inner", value)``."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def _no_run(root: Path) -> str:
    """What to say of a directory without a file of a run: perhaps those below it are meant."""
    below = {path.parents[1] for path in root.rglob("metrics.jsonl") if path.parent != root}
    below |= {path.parent for path in root.rglob(FILES[0])}
    names = [f"'{path}'" for path in sorted(below)]
    if names:
        more = " ..." * (len(names) > NAMED)
        return f"'{root}' is no run; below it are {', '.join(names[:NAMED])}{more}: give the --workdir of one of them."
    return (
        f"'{root}' holds nothing to report, neither {', '.join(FILES)} nor an arm's metrics.jsonl: give the --workdir "
        "of a run that has begun to train."
    )


def _read_object(path: Path, missing: dict[str, str], damaged: list[str]) -> dict[str, Any]:
    if not path.is_file():
        missing[path.name] = f"{path.name} is not in this run: the step that writes it has not finished."
        return {}
    try:
        return records.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        damaged.append(path.name)
        missing[path.name] = f"{path.name} is damaged ({error}): run the step that writes it again."
        return {}


def _read_lines(path: Path, root: Path, missing: dict[str, str], damaged: list[str]) -> list[dict[str, Any]]:
    name = path.relative_to(root).as_posix()
    if not path.is_file():
        missing[name] = f"{name} is not in this run: the step that writes it has not finished."
        return []
    rows, broken = [], 0
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        damaged.append(name)
        missing[name] = f"{name} cannot be read ({error.strerror or error})."
        return []
    for line in text.splitlines():
        try:
            row = records.parsed(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif line.strip():
            broken += 1
    if broken > 1 or (broken and not rows):  # a killed run leaves its last line half written
        damaged.append(name)
    if broken:
        missing[name] = f"{broken} of the lines of {name} could not be read and were left out."
    elif not rows:
        missing[name] = f"{name} is empty."
    return rows
