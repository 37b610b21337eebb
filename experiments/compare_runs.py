"""Do two runs hold the same numbers, bit for bit? Of two versions of the code, say, on one machine.

    python -m experiments.compare_runs runs/before runs/after

Compares every step's metrics, the arrays of the newest checkpoints and the records of the evaluation, but for what
tells of the machine: times, versions, memory. What only one of the runs has is named and does not count; the exit
status is 1 where a number differs.
"""

import argparse
import sys
from pathlib import Path

from mass_jax.study.compare import compare


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
