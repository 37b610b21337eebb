r"""Does MASS need exact meta-gradients? Scorers trained by every estimator, where that may matter and where it must.

    python -m experiments.benchmarks.exactness --config=configs/demo.py --workdir=runs/exactness \
      --config.generator.examples=6                                                     (`make exactness`)

The generator is frozen: once a seed the base writes practice, for training problems and for held-out ones, and all rows
read it. The settings are the config's own inner update, and Adam over eight steps on the same examples, at rates up to
one beyond the edge of stability. What is learned is the scorer, and with it the inner rate, for the scorer's gate is a
factor on the update. A row has as many steps as the exact one, and then as many floating-point operations. Rows are
kept as they are measured, and the same command goes on.
"""

import dataclasses
import itertools
import json
from functools import lru_cache
from pathlib import Path

from absl import flags

from experiments.benchmarks.exactness.bench import Bench, Data, Size, make_data
from experiments.benchmarks.exactness.settings import EXACT, settings
from experiments.benchmarks.exactness.tables import tables
from experiments.benchmarks.kept import held, keep
from mass_jax.reporting.table import to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study import entry, setup
from mass_jax.study.schema import Config
from mass_jax.study.study import open_study


def main(config: Config, workdir: Path) -> None:
    """Measures what is not measured yet, and keeps the tables after every row."""
    setup.check_families(config, "this benchmark")
    enable_compilation_cache()
    split, size, tried = flags.FLAGS.split, Size(), settings(config)
    path = workdir / f"{split}.json"
    found = held(path, ("setting", "seed", "row"), rows=None) or []
    with open_study(config, workdir) as study:

        @lru_cache(1)
        def data(seed: int) -> Data:
            return make_data(study.actor, study.splits.train, getattr(study.splits, split), size, seed)

        @lru_cache(1)
        def bench(seed: int, place: int) -> Bench:
            method = dataclasses.replace(study.method, inner=tried[place].inner)
            return Bench(study.actor.replace(method=method), setup.make_outer(config.train), size, data(seed), seed)

        for seed, (place, setting) in itertools.product(map(int, flags.FLAGS.seeds), enumerate(tried)):
            for row in setting.rows:
                name = {"setting": setting.label, "seed": seed, "row": row.label}
                if not any(name.items() <= each.items() for each in found):
                    found.append(name | bench(seed, place).measured(row, setting.steps))
                    write_atomically(path, json.dumps(found, indent=1) + "\n")
                    keep(workdir / f"{split}.table.json", **tables(found, EXACT))
                    print(json.dumps(found[-1]), flush=True)
    print("\n\n".join(map(to_markdown, tables(found, EXACT).values())))


if __name__ == "__main__":
    program.define_numbers("seeds", (0, 1, 2, 3, 4), "Each draws problems, practice, scorer and adapters.", least=0)
    flags.DEFINE_enum("split", "test", ["validation", "test"], "Whose families are held out.")
    entry.run(main)
