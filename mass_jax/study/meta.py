"""The meta-training loop of one arm: it resumes, logs, and stops at NaN and infinity."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import grain
import jax
from absl import logging

from mass_jax import metagrad
from mass_jax.mass.actor import Actor
from mass_jax.mass.state import OuterConfig, TrainState, init_state, shardings
from mass_jax.mass.step import Hooks, outer_step
from mass_jax.parallel import hosts, mesh
from mass_jax.parallel.preemption import Notice, Preempted
from mass_jax.planning import cost
from mass_jax.quantities import Metric
from mass_jax.runtime import profiling
from mass_jax.runtime.checkpoint import Checkpointer
from mass_jax.runtime.compilation import programs_compiled
from mass_jax.runtime.guard import check_finite
from mass_jax.runtime.metrics import MetricsWriter, PhaseTimer, peak_bytes
from mass_jax.runtime.progress import Progress
from mass_jax.study import setup
from mass_jax.study.schema import Train
from mass_jax.study.watch import Watch
from mass_jax.tasks import pipeline
from mass_jax.tasks.base import Problem, Task
from mass_jax.types import Array, Params

WARM_UP = 2
"""Steps after a start in which every program is met: a restored state may lie elsewhere than an updated one."""
LEAST_WELL_FORMED = 0.5
"""The share of well-formed practice below which a run warns."""
SHOW = (Metric.LOSS_PRE, Metric.LOSS_POST, Metric.SOLVE_ACCURACY, Metric.CORRECT)


def meta_train(  # parameters: an arm, its two streams, its place and name; lines: one loop, in its order
    train: Train,
    seed: int,
    base: Actor,
    problems: Sequence[Problem],
    documents: grain.DatasetIterator,
    workdir: Path,
    label: str,
    owner: Mapping[str, Any] | None = None,
) -> TrainState:
    """Train one arm, continuing from ``workdir``'s newest checkpoint if there is one.

    Resume restores, in this order: parameters, optimiser states, scorer and PRNG key; the positions of the problem and
    document streams; what the watch knows; the metrics file, cut back to the restored step. Steps then repeat bitwise.

    Args:
      train: the arm's ``config.train``.
      seed: of initialisation, sampling and problem order.
      base: the pretrained actor.
      problems: the meta-training problems.
      documents: a fresh stream of documents for replay and KL, none of which writes practice.
      workdir: for checkpoints and metrics.
      label: the name on the progress bar.
      owner: the config that checkpoints belong to; those of another one are refused.

    Raises:
      NonFiniteError: too many steps in a row were skipped, and the state is saved; or it is not finite, and is not.
      CheckpointError: the newest checkpoint was saved with another ``owner``, or none can be read or written.
      Preempted: SIGTERM or Ctrl-C came; the state is saved as it was before the step that it came in.
    """
    config = setup.make_outer(train)
    spikes = (train.spike_factor, train.spike_window, train.spike_patience)
    watch = Watch(*spikes)
    checks = len(base.task.check_names)
    start = partial(_start, base.replace(params=None), config, checks, jax.random.key(seed))
    batches = pipeline.problem_batches(problems, batch_size=train.problems, seed=seed)
    with Checkpointer(workdir / "checkpoints", keep=2, config=owner) as checkpointer:
        if checkpointer.latest_step() is None:
            done, state = 0, mesh.placed(start, base.params, shardings=shardings)
        else:
            restored = checkpointer.restore(mesh.template(start, base.params, shardings=shardings))
            done, state = restored.step, restored.state
            batches.set_state(restored.data["problems"])
            documents.set_state(restored.data["documents"])
            watch = Watch(*spikes, restored.extra["watch"])
        if done == train.steps:
            return state
        timer = PhaseTimer()
        programs_compiled()  # what came before is not this loop's
        with (
            Notice() as notice,
            MetricsWriter(workdir, resume_step=done) as writer,
            Progress(train.steps, start=done, label=label, show=SHOW) as progress,
        ):

            def position() -> dict[str, Any]:
                return {"problems": batches.get_state(), "documents": documents.get_state()}

            def save(step: int, data: dict[str, Any]) -> None:
                check_finite(step, "save", state=state)
                checkpointer.save(step, state, data=data, extra={"watch": watch.state()})
                programs_compiled()  # what a save compiles is not a step's

            def phase(name: str) -> AbstractContextManager:
                notice.check()
                return timer(name)

            for step in range(done, train.steps):
                before = position()  # a notice may come in the midst of the step
                began = time.perf_counter()
                try:
                    with phase("data"):
                        batch, replay = next(batches), next(documents)
                        work = cost.work(base.method, config, checks, len(batch), replay.tokens.shape)
                        batch = [batch[i] for i in hosts.rows(len(batch))]
                        replay = hosts.mine(replay)
                    # Whatever crosses between host and devices does so on purpose.
                    with profiling.step(step - done, workdir), jax.transfer_guard("disallow"):
                        hooks = Hooks(phase, partial(watch.check, step), watch.limits())
                        state, record = outer_step(base, config, state, step, batch, replay, hooks)
                except Preempted:
                    save(step, before)
                    raise
                skipped = watch.record(step, record.metrics)
                compiled = programs_compiled()
                if compiled and step - done >= WARM_UP:
                    logging.warning("Step %d compiled %s: a shape that was new.", step, ", ".join(compiled))
                machine = cost.throughput(work, time.perf_counter() - began) | peak_bytes()
                record.metrics.update(machine)
                record.metrics.update({Metric.SKIPPED: skipped, Metric.PROGRAMS_COMPILED: len(compiled)})
                values = writer.write(step, record.named() | timer.pop())
                progress.update(step + 1, values)
                metagrad.warn_if_broken(base.method.estimator, record.diagnostics)
                well_formed = record.metrics.get(Metric.WELL_FORMED, 1.0)
                if step == done and well_formed < LEAST_WELL_FORMED and train.malformed_reward < 0:
                    logging.warning(mostly_malformed(base.task, well_formed))
                if (step + 1) % train.save_every == 0 or step + 1 == train.steps or watch.hopeless:
                    save(step + 1, position())
                    watch.stop_if_hopeless()
            notice.check()  # one that came in the last step: all is saved, and nothing else is begun
    return state


def mostly_malformed(task: Task, share: float) -> str:
    """What to do where only a ``share`` of the practice is well formed, in words of what the domain has."""
    shown = "Show it worked practice (task.shots), lower" if hasattr(task, "shots") else "Lower"
    return (
        f"Only {100 * share:.0f} % of the practice is well formed: the generator mostly learns what can be read, and "
        f"little of what helps. {shown} generator.temperature, or set train.malformed_reward = 0 to leave the rest out."
    )


def load_trained(train: Train, seed: int, base: Actor, workdir: Path) -> TrainState:
    """The newest state of an arm, only read; the arguments are those of `meta_train`.

    Raises:
      CheckpointError: there is none, or it cannot be read.
    """
    start = partial(
        _start, base.replace(params=None), setup.make_outer(train), len(base.task.check_names), jax.random.key(seed)
    )
    with Checkpointer(workdir / "checkpoints") as checkpointer:
        template = mesh.template(start, base.params, shardings=shardings)
        return checkpointer.restore(template, checkpointer.latest_step()).state


def _start(base: Actor, config: OuterConfig, checks: int, key: Array, params: Params) -> TrainState:
    return init_state(base.replace(params=params), config, checks, key)
