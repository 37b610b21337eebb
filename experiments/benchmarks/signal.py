"""How well each credit tells right practice from other practice: d', before anything is trained and after.

    python -m experiments.benchmarks.signal --config=configs/demo.py --workdir=runs/demo --arm=mass --seeds=0,1,2,3,4

The base and the arm write practice for problems of validation families, once a seed, and every credit is taken of the
very same texts. d' is the difference of the mean rewards of right and of other well-formed practice over their standard
deviation, where a credit becomes a reward by z-scores within its set, or by the scale `train.credit_scale`, in nats.
Time is that of a credit over that of the marginal one, in the same run.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.benchmarks.kept import keep, mean_figure
from mass_jax.errors import InputError
from mass_jax.mass import attribution, credit, scorer
from mass_jax.mass.actor import Actor
from mass_jax.mass.attribution import Adapted, Weighed
from mass_jax.mass.credit import COMPLETE, LEAVE_ONE_OUT, MARGINAL, NORMALIZED, CreditAt
from mass_jax.mass.generator import write_practice
from mass_jax.mass.packing import PracticeArrays
from mass_jax.mass.practice import PracticeSets, each_example, on_devices
from mass_jax.mass.record import within_sets
from mass_jax.mass.rewards import against
from mass_jax.mass.state import Trained
from mass_jax.parallel import hosts
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study import entry, setup
from mass_jax.study.evaluate import base_state
from mass_jax.study.schema import Config
from mass_jax.study.study import Study, open_study, train_arm
from mass_jax.tasks.base import KnowsFamily, Problem
from mass_jax.types import PyTree

BATCH = 80
"""Problems at once."""
SAMPLES = 8
"""Solutions that the verifier judges."""


class Written(NamedTuple):
    """Practice of a batch of problems, and what all credits of it start from."""

    problems: Sequence[Problem]
    sets: PracticeSets
    practice: PracticeArrays
    adapters: tuple[PyTree, ...]
    adapted: Adapted
    own: Weighed
    siblings: Weighed
    judged: Weighed


class Row(NamedTuple):
    """A credit to measure.

    Attributes:
      label: in the table.
      kind: of `credit.KINDS`.
      uniform: at uniform weights and an open gate.
      adapters: fresh ones, over which it is averaged.
      asked: what the outer loss weighs.
    """

    label: str
    kind: str = MARGINAL
    uniform: bool = True
    adapters: int = 1
    asked: Callable[[Written], Weighed] = lambda written: written.own


ROWS = (
    Row("marginal"),
    Row("at the scorer's weights and gate", uniform=False),
    Row("normalized", NORMALIZED),
    Row("leave one out", LEAVE_ONE_OUT),
    Row("complete", COMPLETE),
    Row("four adapters", adapters=4),
    Row("four siblings", asked=lambda written: written.siblings),
    Row("four siblings, normalized", NORMALIZED, asked=lambda written: written.siblings),
    Row("verifier's verdicts", asked=lambda written: written.judged),
)
"""All differ from the first in what their label says."""
COLUMNS = ("d', z-scores", "d', by scale", "time")


def untrained(study: Study) -> Trained:
    """The base, and the scorer that training starts with, which gives every example the weight 1."""
    method, checks = study.method, len(study.actor.task.check_names)
    eta = scorer.init(method.scorer, scorer.feature_count(method, checks), jax.random.key(study.config.seed))
    return base_state(study)._replace(eta=eta)


def write(actor: Actor, state: Trained, problems: Sequence[Problem], key: jax.Array, place: int) -> Written:
    """Practice of the model, adapted to."""
    keys = jax.random.split(key, 3)
    places = np.arange(place, place + len(problems), dtype=np.int32)
    sets, _ = write_practice(actor, problems, keys[0], places)
    practice = on_devices(sets)
    adapters = tuple(attribution.fresh_adapter(actor, keys[1], number) for number in range(4))
    adapted = attribution.score_and_adapt(actor, state.eta, adapters[0], practice)
    uniform = adapted.scores._replace(
        weights_PxM=jnp.asarray(practice.valid_PxM, float), gate_P=jnp.ones(len(problems))
    )
    updated = attribution.adapt(actor, adapters[0], uniform, practice.examples)
    judged, _ = attribution.attempts(actor, updated, problems, keys[2], SAMPLES, places).result()
    noise = [np.random.default_rng(each) for each in places.tolist()]
    return Written(
        problems,
        sets,
        practice,
        adapters,
        adapted,
        hosts.share(attribution.references(actor, problems).weighed),
        hosts.share(attribution.siblings(actor, problems, 4, noise)),
        hosts.share(judged.weighed),
    )


def measured(study: Study, state: Trained, seed: int) -> dict[str, list[float]]:
    """The columns of every row."""
    actor, task = study.actor.replace(params=state.params), study.actor.task
    assert isinstance(task, KnowsFamily)
    problems, key, scale = study.splits.validation, jax.random.key(seed), study.config.train.credit_scale
    batches = [
        write(actor, state, problems[i : i + BATCH], jax.random.fold_in(key, i), i)
        for i in range(0, len(problems) - BATCH + 1, BATCH)
    ]
    right = np.concatenate([each_example(task.is_correct, each.problems, each.sets.texts) for each in batches])
    valid = np.concatenate([each.sets.arrays.valid_PxM for each in batches])
    found, first = {}, 0.0
    for row in ROWS:
        seconds, parts = 0.0, []
        for i, each in enumerate(batches):
            at = CreditAt(row.kind, row.uniform)
            args = (actor, at, each.adapters[: row.adapters], each.adapted.scores, each.practice, row.asked(each))
            if not i:
                jax.block_until_ready(credit.credit(*args))  # compiled
            start = time.perf_counter()
            parts.append(hosts.local(credit.credit(*args)))
            seconds += time.perf_counter() - start
        first, credits = first or seconds, np.concatenate(parts)
        found[row.label] = [
            *(within_sets(against(credits, valid, each), right, valid) for each in (0.0, scale)),
            seconds / first,
        ]
    return found


def table(found: Mapping[str, Sequence[Mapping[str, Sequence[float]]]]) -> Table:
    """Means over seeds, with their standard deviations where there are several.

    Args:
      found: of each model, by seed, what `measured` returned.
    """
    lines = []
    for row in ROWS:
        cells = [row.label]
        for seeds in found.values():
            cells += [mean_figure(values, 2) for values in zip(*(each[row.label] for each in seeds), strict=True)]
        lines.append(tuple(cells))
    heads = [f"{model}: {column}" for model in found for column in COLUMNS]
    return Table(("Credit", *heads), "l" + "r" * len(heads), lines)


def main(config: Config, workdir: Path) -> None:
    """Train the arm where it has to be, measure, and keep the table."""
    setup.check_families(config, "this benchmark")
    enable_compilation_cache()
    name, seeds = flags.FLAGS.arm, [int(seed) for seed in flags.FLAGS.seeds]
    if name not in config.arms:
        raise InputError(f"--arm={name}: the config has the arms {', '.join(config.arms)}: choose one of them.")
    with open_study(config, workdir) as study:
        states = {"Base": untrained(study), "Trained": train_arm(study, name)}
        found = {model: [measured(study, state, seed) for seed in seeds] for model, state in states.items()}
    keep(workdir / "signal.table.json", credits=table(found))
    print(to_markdown(table(found)))


if __name__ == "__main__":
    flags.DEFINE_string("arm", "mass", "Which arm is the trained model.")
    program.define_numbers("seeds", (0,), "Each draws practice, adapters and solutions.", least=0)
    entry.run(main)
