"""The meta-training loop of one arm: resumable, logged, and stopped at the first number that is none."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import grain
import jax
import ml_collections

from mass_jax import metagrad
from mass_jax.mass import outer
from mass_jax.mass.generator import Domain
from mass_jax.mass.method import Method
from mass_jax.mass.outer import OuterConfig, TrainState
from mass_jax.models import partition
from mass_jax.tasks import pipeline
from mass_jax.tasks.base import Problem
from mass_jax.training.checkpoint import Checkpointer
from mass_jax.training.guard import check_finite
from mass_jax.training.metrics import MetricsWriter, PhaseTimer
from mass_jax.training.progress import Progress
from mass_jax.types import Params

SHOW = ("outer/loss_pre", "outer/loss_post", "solve/accuracy", "synthesis/correct")


def meta_train(
    train: ml_collections.ConfigDict,
    seed: int,
    domain: Domain,
    method: Method,
    base: Params,
    problems: Sequence[Problem],
    documents: grain.DatasetIterator,
    workdir: Path,
    label: str,
) -> TrainState:
    """Train one arm, continuing from ``workdir``'s newest checkpoint if there is one.

    Resume restores, in this order: parameters, optimiser states, scorer and PRNG key; the positions of the problem and
    document streams; the metrics file, cut back to the restored step. Steps then repeat bitwise.

    Args:
      train: the arm's ``config.train``.
      seed: of initialisation, sampling and problem order.
      domain: task and tokenizer.
      method: the method's static description.
      base: pretrained parameters.
      problems: the meta-training problems.
      documents: a fresh stream of pretraining documents for replay and KL.
      workdir: for checkpoints and metrics.
      label: the name on the progress bar.

    Raises:
      NonFiniteError: names step, phase and leaf; the last checkpoint is kept.
    """
    config = OuterConfig(**{name: train[name] for name in OuterConfig.__dataclass_fields__})
    checks = len(domain.task.check_names)
    start = partial(outer.init_state, method, config, base, checks, jax.random.key(seed))
    batches = pipeline.problem_batches(problems, batch_size=train.problems, seed=seed)
    with Checkpointer(workdir / "checkpoints", keep=2) as checkpointer:
        if checkpointer.latest_step() is None:
            done, state = 0, _placed(start())
        else:
            restored = checkpointer.restore(_template(start))
            done, state = restored.step, restored.state
            batches.set_state(restored.data["problems"])
            documents.set_state(restored.data["documents"])
        timer = PhaseTimer()
        with (
            MetricsWriter(workdir, resume_step=done) as writer,
            Progress(train.steps, start=done, label=label, show=SHOW) as progress,
        ):
            for step in range(done, train.steps):
                with timer("data"):
                    batch, replay = next(batches), next(documents)
                state, metrics = outer.outer_step(
                    domain, method, config, base, state, step, batch, replay, timer, partial(check_finite, step)
                )
                values = writer.write(step, metrics | timer.pop())
                progress.update(step + 1, values)
                told = outer.DIAGNOSTICS
                diagnostics = {name.removeprefix(told): x for name, x in values.items() if name.startswith(told)}
                metagrad.warn_if_broken(method.estimator, diagnostics)
                if (step + 1) % train.save_every == 0 or step + 1 == train.steps:
                    data = {"problems": batches.get_state(), "documents": documents.get_state()}
                    checkpointer.save(step + 1, state, data=data)
    return state


def _template(start: Callable[[], TrainState]) -> TrainState:
    """The shapes of a state, and where its leaves are to lie, whatever devices they were saved from."""
    shapes = jax.eval_shape(start)
    if not partition.active():
        return shapes
    places = outer.shardings(jax.sharding.get_mesh(), shapes)
    return jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, places)


def _placed(state: TrainState) -> TrainState:
    """The state on the mesh, if one is set."""
    return jax.device_put(state, outer.shardings(jax.sharding.get_mesh(), state)) if partition.active() else state
