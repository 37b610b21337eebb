"""What a generator learns from each reward, on families that its training does not see.

    python -m experiments.benchmarks.generator --config=configs/candidates.py --workdir=runs/candidates

Every reward of `mass.rewards` trains the same base with all else equal, once a seed; the base is the frozen generator.
Rows are measured on validation families, or with ``--split=test`` on test families: what is written, what the model
solves as it is, and what it solves adapted to its own practice at uniform weights. The same command goes on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.benchmarks.kept import keep
from mass_jax.adapt.run import Recipe
from mass_jax.mass.rewards import REWARDS
from mass_jax.mass.state import Trained, for_answers
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study import entry
from mass_jax.study.config import read
from mass_jax.study.evaluate import base_state
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.schema import Config
from mass_jax.study.study import Study, open_study, train_arm
from mass_jax.study.views import share_of, synthesis_quality
from mass_jax.tasks.base import KnowsFamily

HEAD = ("Reward", "Seed", "Well formed, %", "On topic, of those, %", "Right, of all, %", "Un-adapted, %", "Adapted, %")


def row(study: Study, name: str, state: Trained, split: str) -> tuple[str, ...]:
    """What a model writes and solves, in per cent."""
    problems = getattr(study.splits, split)[: study.config.gate.problems]
    evaluator = Evaluator(study, {"base": state}, problems, study.config.seed + 2)
    assert isinstance(study.domain.task, KnowsFamily), "practice can be judged"
    shares = synthesis_quality(evaluator, "base")
    solved = [evaluator.correct(evaluator.run("base", recipe)) for recipe in (Recipe(), Recipe("own"))]
    on_topic = share_of(shares["on_family"], shares["well_formed"])
    values = [shares["well_formed"], on_topic, shares["correct"]]
    values += [float(np.mean(verdicts)) for verdicts in solved]
    reward, _, seed = name.rpartition("_")
    return (reward or name, seed if reward else "", *(f"{100 * value:.1f}" for value in values))


def arms(rewards: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """One arm a reward and seed."""
    pairs = [(name, seed) for seed in seeds for name in rewards]
    return {f"{name}_{seed}": {"seed": seed, "train": {"reward": name}} for name, seed in pairs}


def main(config: Config, workdir: Path) -> None:
    """Train, measure, and keep the table after every row."""
    enable_compilation_cache()
    values = flags.FLAGS
    trained = arms(values.rewards or sorted(REWARDS), [int(seed) for seed in values.seeds])
    config = read(config.given | {"arms": trained})
    rows: list[tuple[str, ...]] = []
    with open_study(config, workdir) as study:
        for name in ("base", *trained):
            state = base_state(study) if name == "base" else for_answers(train_arm(study, name))
            rows.append(row(study, name, state, values.split))
            keep(workdir / f"generator_{values.split}.json", generator=Table(HEAD, "llrrrrr", rows))
            print(to_markdown(Table(HEAD, "llrrrrr", rows[-1:])), flush=True)


if __name__ == "__main__":
    program.define_names("rewards", None, sorted(REWARDS), "Rewards to train by; all where not given.")
    program.define_numbers("seeds", (0,), "Seeds of the training.", least=0)
    flags.DEFINE_enum("split", "validation", ["validation", "test"], "Whose families are measured.")
    entry.run(main)
