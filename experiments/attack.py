"""Attack the updates of a trained arm, with its guard and without, and write results.json.

    python -m experiments.attack --workdir=runs/demo --arm=mass --out=runs/attack

The arm's guard has to be calibrated (`experiments.calibrate_guard`). Attacks are on the updates of test problems, and
what they do is measured on other test problems, which are answered under every attacked adapter; docs/safeguards.md
has what each attack is.
"""

from pathlib import Path

from absl import flags

from experiments.benchmarks.attacks import measure
from mass_jax.errors import InputError
from mass_jax.guard import attacked
from mass_jax.guard.attacks import Setting
from mass_jax.guard.guard import Guard, calibrated
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import MOST_BATCH
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study.load import load_problems


def main() -> None:
    """Attack, measure, and keep what is found."""
    values = flags.FLAGS
    run = Path(values.workdir)
    enable_compilation_cache()
    problems, asked = load_problems(run, "test"), values.problems + values.held
    if len(problems) < asked:
        raise InputError(
            f"--problems={values.problems} and --held={values.held} are {asked} problems, and the run has "
            f"{len(problems)} to test with: give smaller ones."
        )
    problems, held = problems[: values.problems], problems[values.problems : asked]
    adapter = MassAdapter.load(run, values.arm, values.problems)
    guard = Guard(calibrated(adapter.guard, run, values.arm))
    setting = Setting(adapter.learner, guard, problems, held, values.seed)
    measure(setting, {"run": str(run), "arm": values.arm, "seed": values.seed}, Path(values.out), values.attacks or ())


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/demo", "A run whose arm is trained, and whose guard is calibrated.")
    flags.DEFINE_string("arm", "mass", "The row of its table that is attacked.")
    flags.DEFINE_string("out", "runs/attack", "Where results.json goes.")
    flags.DEFINE_integer("problems", 100, "Whose updates are attacked.", lower_bound=2, upper_bound=MOST_BATCH)
    flags.DEFINE_integer("held", 16, "Others, that measure the harm beside.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of what is drawn.", lower_bound=0)
    program.define_names("attacks", None, attacked.ATTACKS, "Attacks; all where not given.")
    program.run(main)
