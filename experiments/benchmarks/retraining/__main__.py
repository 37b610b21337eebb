"""Is an attribution what happens? Predicted changes of the outer loss, and inner loops on a changed practice set.

    python -m experiments.benchmarks.retraining --run=runs/demo --workdir=runs/retraining        (`make retraining`)

The base, with equal weights, and a trained arm, with its scorer's weights and gate, write practice for problems of
validation families, one a family. Then the inner loop runs again for every example of every set, with its weight a
tenth larger, a tenth smaller, and 0, all else held; and the change of the outer loss, the reference's negative
log-likelihood, is held against the attribution times the change of the weight, for every estimator, K and inner rate.
Rows are kept as they are measured, and the same command goes on.
"""

import itertools
import json
from functools import lru_cache
from pathlib import Path

from absl import flags

from experiments.benchmarks.kept import held, keep
from experiments.benchmarks.retraining.bench import Bench, Start, settings, start
from experiments.benchmarks.retraining.tables import tables
from mass_jax.reporting.table import to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study import setup
from mass_jax.study.load import load, read_config
from mass_jax.tasks.base import Problem


def main() -> None:
    """Measures what is not measured yet, and keeps the tables after every row."""
    options = flags.FLAGS
    workdir, run = Path(options.workdir), Path(options.run)
    config = read_config(run)
    setup.check_families(config, "this benchmark")
    path = workdir / "results.json"
    found = held(path, ("model", "setting", "row"), rows=None) or []
    workdir.mkdir(parents=True, exist_ok=True)
    enable_compilation_cache()
    learners = {"Base": load(run, "base"), "Trained": load(run, options.arm)}
    of_family: dict[int, Problem] = {}
    for problem in config.task.load("validation"):
        of_family.setdefault(problem.family, problem)
    problems, tried = list(of_family.values())[: options.problems], settings(config.inner)

    @lru_cache
    def at(model: str) -> Start:
        return start(learners[model], problems)

    @lru_cache(1)
    def bench(place: int, model: str) -> Bench:
        return Bench(at(model), tried[place], learners[model].key)

    for (place, setting), model in itertools.product(enumerate(tried), learners):
        for row in setting.rows:
            name = {"model": model, "setting": setting.label, "row": row.label}
            if not any(name.items() <= each.items() for each in found):
                found.append(name | bench(place, model).measured(row))
                write_atomically(path, json.dumps(found, indent=1) + "\n")
                keep(workdir / "table.json", **tables(found))
                print(json.dumps(found[-1]), flush=True)
    print("\n\n".join(map(to_markdown, tables(found).values())))


if __name__ == "__main__":
    flags.DEFINE_string("run", "runs/demo", "A trained run.")
    flags.DEFINE_string("arm", "mass", "Which of its arms.")
    flags.DEFINE_string("workdir", "runs/retraining", "Folder for the tables.")
    flags.DEFINE_integer("problems", 40, "Of the validation split, one of each family.", lower_bound=4)
    program.run(main)
