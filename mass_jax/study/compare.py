"""Do two runs hold the same numbers, bit for bit?"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mass_jax import records
from mass_jax.runtime.checkpoint import Checkpointer
from mass_jax.runtime.metrics import METRICS_FILE, read_repeatable

RECORDS = ("gate.json", "results.json", "scorer.json", "examples.jsonl")
OF_THE_MACHINE = ("timing", "cost", "environment", records.CHECKSUM, records.MADE_WITH)
"""Keys of records that tell of the machine: times, versions, memory."""
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
    """
    found = Compared([], [])

    def both(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
        shared = one.keys() & other.keys()
        if wrong := sorted(key for key in shared if one[key] != other[key]):
            found.differing.append(f"{name} differs in {len(wrong)} of {len(shared)} values, such as {wrong[0]}")
        if more := sorted(one.keys() ^ other.keys()):
            found.alone.append(f"{name}: only one run has {', '.join(more[:NAMED])}{' ...' * (len(more) > NAMED)}")

    def in_both(pattern: str) -> list[Path]:
        places = [{path.relative_to(run) for path in run.glob(pattern)} for run in (a, b)]
        found.alone.extend(f"only one run has {path}" for path in sorted(places[0] ^ places[1]))
        return sorted(places[0] & places[1])

    for file in in_both(f"*/{METRICS_FILE}"):
        lines = [read_repeatable((run / file).parent) for run in (a, b)]
        if len(lines[0]) != len(lines[1]):
            found.differing.append(f"{file} has {len(lines[0])} and {len(lines[1])} lines")
        for step, pair in enumerate(zip(*lines, strict=False)):
            # As text, in which NaN is equal to itself.
            both(f"{file}, line {step}", *({key: json.dumps(value) for key, value in line.items()} for line in pair))
    for folder in in_both("*/checkpoints"):
        both(str(folder), *(_newest(run / folder) for run in (a, b)))
    for name in RECORDS:
        for file in in_both(name):
            both(name, *(_leaves((run / file).read_text(encoding="utf-8")) for run in (a, b)))
    return found


def _newest(directory: Path) -> dict[str, bytes]:
    """The bytes of every array of the newest checkpoint, and its step."""
    with Checkpointer(directory) as checkpointer:
        step = checkpointer.latest_step()
        arrays = {} if step is None else checkpointer.read_arrays(step)
    return {"step": str(step).encode()} | {path: leaf.tobytes() for path, leaf in arrays.items()}


def _leaves(text: str) -> dict[str, str]:
    """The values of JSON, or of lines of JSON, by their paths."""
    found: dict[str, str] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, child in value.items():
                if path or key not in OF_THE_MACHINE:
                    walk(child, f"{path}/{key}")
        else:
            found[path] = json.dumps(value)

    for i, line in enumerate([text] if text.startswith("{\n") else text.splitlines()):
        walk(json.loads(line), f"{i}" if i else "")
    return found
