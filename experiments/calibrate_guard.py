"""Calibrate the guard of a trained arm on benign validation problems, and keep it as guard.json of the run.

    python -m experiments.calibrate_guard --workdir=runs/demo --arm=mass

From then on `MassAdapter.load` holds the arm's updates to it; see docs/safeguards.md.
"""

import dataclasses
import json
from pathlib import Path

from absl import flags

from mass_jax.guard import calibration
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.calibrate import calibrate
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study.load import load_problems


def main() -> None:
    """Calibrate, keep, and print the thresholds."""
    values = flags.FLAGS
    run = Path(values.workdir)
    enable_compilation_cache()
    adapter = MassAdapter.load(run, values.arm, values.batch, guard=False)
    calibration.ready(run)
    found = calibrate(adapter, load_problems(run, "validation"), values.problems)
    path = calibration.write(run, values.arm, found)
    print(f"{json.dumps(dataclasses.asdict(found.thresholds), indent=2)}\nThese limits are in {path}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A run whose arm is trained.", required=True)
    flags.DEFINE_string("arm", "mass", "The row of its table that answers.")
    flags.DEFINE_integer("problems", 64, "Benign updates, at most.", lower_bound=4)
    flags.DEFINE_integer("batch", 16, "Problems at once.", lower_bound=1)
    program.run(main)
