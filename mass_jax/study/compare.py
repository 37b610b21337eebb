"""Do two runs hold the same numbers, bit for bit?"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.runtime.checkpoint import Checkpointer
from mass_jax.runtime.metrics import METRICS_FILE, read_repeatable
from mass_jax.runtime.results import RESULTS_FILE

RECORDS = ("gate.json", RESULTS_FILE, "scorer.json", "examples.jsonl")
OF_THE_MACHINE = ("timing", "cost", "environment", "commit", records.MADE_WITH)
"""Keys of records that tell of the machine and the version: times, packages, memory."""
NAMED = 5
"""Keys of one run that are named, of all that the other has not."""


class Compared(NamedTuple):
    """Two runs, side by side.

    Attributes:
      differing: a sentence for every file with numbers that differ.
      alone: a sentence for every file with keys that only one of the runs has, and for every such file.
    """

    differing: list[str]
    alone: list[str]


def compare(a: Path, b: Path) -> Compared:
    """Every step's metrics, the arrays of the newest checkpoints and the records of the evaluation.

    Args:
      a: workdir of a run.
      b: of the other; what only one of the two has does not count as a difference.

    Raises:
      InputError: there is nothing to compare: a file is damaged, a run has no results, or no value is in both.
    """
    found, compared = Compared([], []), 0
    for run in (a, b):
        _results(run)

    def both(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
        nonlocal compared
        shared = one.keys() & other.keys()
        compared += len(shared)
        if wrong := sorted(key for key in shared if one[key] != other[key]):
            found.differing.append(f"{name} differs in {len(wrong)} of {len(shared)} values, such as {wrong[0]}")
        if more := sorted(one.keys() ^ other.keys()):
            found.alone.append(f"{name}: only one run has {', '.join(more[:NAMED])}{' ...' * (len(more) > NAMED)}")

    def in_both(pattern: str) -> list[Path]:
        places = [{path.relative_to(run) for path in run.glob(pattern)} for run in (a, b)]
        found.alone.extend(f"only one run has {path}" for path in sorted(places[0] ^ places[1]))
        return sorted(places[0] & places[1])

    for file in in_both(f"*/{METRICS_FILE}"):
        lines = [_metrics(run / file) for run in (a, b)]
        if len(lines[0]) != len(lines[1]):
            found.differing.append(f"{file} has {len(lines[0])} and {len(lines[1])} lines")
        for step, pair in enumerate(zip(*lines, strict=False)):
            # As text, in which NaN is equal to itself.
            both(f"{file}, line {step}", *({key: json.dumps(value) for key, value in line.items()} for line in pair))
    for folder in in_both("*/checkpoints"):
        both(str(folder), *(_newest(run / folder) for run in (a, b)))
    for name in RECORDS:
        for file in in_both(name):
            both(name, *(_leaves(run / file) for run in (a, b)))
    if not compared:
        raise InputError(f"There is nothing to compare: '{a}' and '{b}' have no value in common. Give two like runs.")
    return found


def _results(run: Path) -> None:
    """Looks whether a run has any.

    Raises:
      InputError: it has none.
    """
    path = run / RESULTS_FILE
    if not path.is_file():
        raise InputError(f"There is nothing to compare: '{run}' holds no finished run. Give the workdirs of two.")
    if not _values(path)[0]:
        raise InputError(f"There is nothing to compare: '{path}' is empty. Write it again by experiments.evaluate.")


def _metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a file of metrics.

    Raises:
      InputError: one is damaged, or torn by a kill; or it cannot be read.
    """
    try:
        lines, written = read_repeatable(path.parent), len(path.read_bytes().splitlines())
    except OSError as error:
        raise InputError(
            f"There is nothing to compare: '{path}' cannot be read ({error.strerror or error}). Give another run."
        ) from None
    if len(lines) < written:
        raise InputError(
            f"There is nothing to compare: '{path}' has {written - len(lines)} damaged lines of {written}. Finish the "
            "run by the command that it was started with, or give another one."
        )
    return lines


def _newest(directory: Path) -> dict[str, bytes]:
    """The bytes of every array of the newest checkpoint, and its step."""
    with Checkpointer(directory) as checkpointer:
        step = checkpointer.latest_step()
        arrays = {} if step is None else checkpointer.read_arrays(step)
    return {"step": str(step).encode()} | {path: leaf.tobytes() for path, leaf in arrays.items()}


def _values(path: Path) -> list[dict[str, Any]]:
    """The records of a file: one, or of lines of JSON one a line.

    Raises:
      InputError: it is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return [records.loads(each) for each in (text.splitlines() if path.suffix == ".jsonl" else [text])]
    except (OSError, ValueError) as error:
        raise InputError(
            f"There is nothing to compare: '{path}' is damaged ({error}). Write it again by the program that it is of, "
            "such as experiments.evaluate, or give another run."
        ) from None


def _leaves(path: Path) -> dict[str, str]:
    """The values of a file of records, by their paths. Errors as `_values`."""
    found: dict[str, str] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, child in value.items():
                if path or key not in OF_THE_MACHINE:
                    walk(child, f"{path}/{key}")
        else:
            found[path] = json.dumps(value)

    for i, record in enumerate(_values(path)):
        walk(record, f"{i}" if i else "")
    return found
