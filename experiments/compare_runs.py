"""Do two runs hold the same numbers, bit for bit? Of two versions of the code, say, on one machine.

    python -m experiments.compare_runs runs/before runs/after

Compares every step's metrics, the arrays of the newest checkpoints and the records of the evaluation, but for what
tells of the machine and the version: times, packages, memory. What only one of the runs has is named and does not
count. The exit status is 0 where all numbers are equal, 1 where one differs, and 2 where there is nothing to compare:
a run that is not finished, no value in common, or a file that is empty or damaged.
"""

import argparse
import sys
from pathlib import Path

from mass_jax.errors import InputError
from mass_jax.study.compare import compare


def main() -> None:
    """Compare, and say so by the exit status."""
    parser = argparse.ArgumentParser(
        "python -m experiments.compare_runs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs=2, help="workdirs of two finished runs")
    try:
        differing, alone = compare(*parser.parse_args().runs)
    except InputError as error:
        parser.error(str(error))
    print("\n".join([*alone, *differing]))
    print("The numbers differ." if differing else "All numbers that both runs have are equal, bit for bit.")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
