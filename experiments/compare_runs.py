"""Do two runs hold the same numbers, bit for bit? Of two versions of the code, say, on one machine.

    python -m experiments.compare_runs runs/before runs/after

Compares every step's metrics, the arrays of the newest checkpoints and the records of the evaluation, but for what
tells of the machine: times, versions, memory. What only one of the runs has is named and does not count; the exit
status is 1 where a number differs.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mass_jax import records
from mass_jax.runtime.checkpoint import Checkpointer
from mass_jax.runtime.metrics import METRICS_FILE, read_repeatable

RECORDS = ("gate.json", "results.json", "scorer.json", "examples.jsonl")
OF_THE_MACHINE = ("timing", "cost", "environment", records.CHECKSUM, records.MADE_WITH)


def compare(a: Path, b: Path) -> tuple[list[str], list[str]]:
    """What two finished runs differ in, and what only one of them has, as sentences."""
    differing: list[str] = []
    alone: list[str] = []

    def both(name: str, one: dict[str, Any], other: dict[str, Any]) -> None:
        shared = one.keys() & other.keys()
        if wrong := sorted(key for key in shared if one[key] != other[key]):
            differing.append(f"{name} differs in {len(wrong)} of {len(shared)} values, such as {wrong[0]}")
        if more := sorted(one.keys() ^ other.keys()):
            alone.append(f"{name}: only one run has {', '.join(more[:5])}{' ...' * (len(more) > 5)}")

    for file in sorted({file.relative_to(run) for run in (a, b) for file in run.glob(f"*/{METRICS_FILE}")}):
        lines = [read_repeatable((run / file).parent) for run in (a, b)]
        if len(lines[0]) != len(lines[1]):
            differing.append(f"{file} has {len(lines[0])} and {len(lines[1])} lines")
        for step, pair in enumerate(zip(*lines, strict=False)):
            both(f"{file}, line {step}", *({key: json.dumps(value) for key, value in line.items()} for line in pair))
    for folder in sorted({path.relative_to(run) for run in (a, b) for path in run.glob("*/checkpoints")}):
        both(str(folder), *(_newest(run / folder) for run in (a, b)))
    for name in RECORDS:
        both(name, *(_leaves((run / name).read_text(encoding="utf-8")) for run in (a, b)))
    return differing, alone


def _newest(directory: Path) -> dict[str, bytes]:
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


def main() -> None:
    """Compare, and say so by the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs=2, help="workdirs of two finished runs")
    a, b = parser.parse_args().runs
    for run in (a, b):
        if not (run / "results.json").is_file():
            parser.error(f"{run} holds no finished run: give the workdirs of two.")
    differing, alone = compare(a, b)
    print("\n".join([*alone, *differing]))
    print("The numbers differ." if differing else "All numbers that both runs have are equal, bit for bit.")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
