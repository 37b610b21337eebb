"""Fit a forecast of what updates of a trained arm gain on validation problems; keep it as forecast.json of the run.

    python -m experiments.fit_forecast --workdir=runs/demo --arm=mass

From then on `MassAdapter.load` knows it, and `Options.sets` and `Options.least_gain` go by it; see docs/tool.md.
"""

from pathlib import Path

from absl import flags

from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.forecast import forecast, observed
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study.load import load_problems


def main() -> None:
    """Fit, keep, and print how much the forecast explains."""
    values = flags.FLAGS
    run = Path(values.workdir)
    enable_compilation_cache()
    adapter = MassAdapter.load(run, values.arm, values.batch)
    forecast.ready(run)
    problems = list(load_problems(run, "validation"))[: values.problems]
    found = observed.fit(adapter, problems, values.sets)
    path = forecast.write(run, values.arm, found)
    answer, practice = (f"{100 * share:.0f} %" for share in found.explained)
    print(
        f"Of the variance of gains, on families held out, the model's confidence explains {answer}, with its practice "
        f"{practice}. The forecast is in {path}"
    )


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A run whose arm is trained.", required=True)
    flags.DEFINE_string("arm", "mass", "The row of its table that answers.")
    flags.DEFINE_integer("problems", 320, "Of the validation split, at most.", lower_bound=4)
    flags.DEFINE_integer("sets", 4, "Updates of each, on a practice set each.", lower_bound=1)
    flags.DEFINE_integer("batch", 40, "Problems at once.", lower_bound=1)
    program.run(main)
