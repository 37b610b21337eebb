"""The meta-training loop of one arm: it resumes, logs, and stops at NaN and infinity."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import grain
import jax
from absl import logging

from mass_jax import metagrad, records
from mass_jax.mass.actor import Actor
from mass_jax.mass.record import Record
from mass_jax.mass.state import OuterConfig, Trained, TrainState, for_answers, init_state, shardings
from mass_jax.mass.step import Hooks, Timer, outer_step
from mass_jax.parallel import hosts, mesh
from mass_jax.parallel.preemption import Notice, Preempted
from mass_jax.planning import cost
from mass_jax.quantities import Metric
from mass_jax.runtime import array_tree, profiling
from mass_jax.runtime.checkpoint import Checkpointer, CheckpointError
from mass_jax.runtime.checksum import checksums
from mass_jax.runtime.compilation import programs_compiled
from mass_jax.runtime.guard import check_finite
from mass_jax.runtime.metrics import MetricsWriter, PhaseTimer, peak_bytes
from mass_jax.runtime.progress import Progress
from mass_jax.study import setup
from mass_jax.study.schema import Train
from mass_jax.study.watch import Watch
from mass_jax.tasks import pipeline
from mass_jax.tasks.base import Problem, Task
from mass_jax.types import Params

WARM_UP = 1
"""Steps after a start in which every program is met."""
LEAST_WELL_FORMED = 0.5
"""The share of well-formed practice below which a run warns."""
SHOW = (Metric.LOSS_PRE, Metric.LOSS_POST, Metric.SOLVE_ACCURACY, Metric.CORRECT)


@dataclasses.dataclass
class Training:
    """Where the training of an arm stands: all that its checkpoints hold.

    Attributes:
      step: how many steps are done.
      state: after them.
      problems: the stream of batches of problems.
      documents: the stream of documents.
      watch: which gradients are followed.
      first: how many steps were done when this process began.
      base: a fingerprint of the base that an adapter belongs to; None where all parameters are trained.
      well_formed: the share of the newest step's practice that could be read; 0 before this process's first.
    """

    step: int
    state: TrainState
    problems: grain.DatasetIterator
    documents: grain.DatasetIterator
    watch: Watch
    first: int
    base: str | None = None
    well_formed: float = 0.0

    def position(self) -> dict[str, Any]:
        """Where the streams are."""
        return {"problems": self.problems.get_state(), "documents": self.documents.get_state()}

    def save(self, checkpointer: Checkpointer, position: Mapping[str, Any]) -> None:
        """Keeps all of it, with the streams at ``position``.

        Raises:
          NonFiniteError: the state is not finite.
          CheckpointError: it cannot be written.
        """
        check_finite(self.step, "save", state=self.state)
        extra = {"watch": self.watch.state()} | ({} if self.base is None else {"base": self.base})
        checkpointer.save(self.step, self.state, data=position, extra=extra)
        programs_compiled()  # what a save compiles is not a step's


def meta_train(
    train: Train,
    seed: int,
    base: Actor,
    problems: Sequence[Problem],
    documents: grain.DatasetIterator,
    workdir: Path,
    owner: Mapping[str, Any] | None = None,
) -> TrainState:
    """Train one arm, continuing from ``workdir``'s newest checkpoint if there is one.

    Resume restores, in this order: parameters, optimiser states, scorer and PRNG key; the positions of the problem and
    document streams; what the watch knows; the metrics file, cut back to the restored step. Steps then repeat bitwise.
    Of an outer adapter (``train.lora_rank``) checkpoints hold the adapter, and what tells its base from others.

    Args:
      train: the arm's ``config.train``.
      seed: of initialisation, sampling and problem order.
      base: the pretrained actor.
      problems: the meta-training problems.
      documents: a fresh stream of documents for replay and KL, none of which writes practice.
      workdir: for checkpoints and metrics; its last part is the name on the progress bar.
      owner: the config that checkpoints belong to; those of another one are refused.

    Raises:
      NonFiniteError: too many steps in a row were skipped, and the state is saved; or it is not finite, and is not.
      CheckpointError: the newest checkpoint was saved with another ``owner``, or holds an adapter of another base; or
        none can be read or written.
      Preempted: SIGTERM or Ctrl-C came; the state is saved as it was before the step that it came in.
    """
    batches = pipeline.problem_batches(problems, batch_size=train.problems, seed=seed)
    with Checkpointer(workdir / "checkpoints", keep=2, config=owner) as checkpointer:
        at = _resumed(train, seed, base, checkpointer, batches, documents)
        if at.step == train.steps:
            return at.state
        timer = PhaseTimer()
        programs_compiled()  # what came before is not this loop's
        with (
            Notice() as notice,
            MetricsWriter(workdir, resume_step=at.step) as writer,
            Progress(train.steps, start=at.step, label=workdir.name, show=SHOW) as progress,
        ):

            def phase(name: str) -> AbstractContextManager:
                notice.check()
                return timer(name)

            while at.step < train.steps:
                before = at.position()  # a notice may come in the midst of the step
                try:
                    record = _advance(at, base, train, phase, workdir)
                except Preempted:
                    at.save(checkpointer, before)
                    raise
                values = writer.write(at.step, record.named() | timer.pop())
                at.step += 1
                progress.update(at.step, values)
                if at.step % train.save_every == 0 or at.step == train.steps or at.watch.hopeless:
                    at.save(checkpointer, at.position())
                    at.watch.stop_if_hopeless()
            notice.check()  # one that came in the last step: all is saved, and nothing else is begun
    return at.state


def _resumed(
    train: Train,
    seed: int,
    base: Actor,
    checkpointer: Checkpointer,
    problems: grain.DatasetIterator,
    documents: grain.DatasetIterator,
) -> Training:
    """The training as its newest checkpoint has it, both streams put in their places; or before its first step."""
    start = _start(train, seed, base)
    spikes = (train.spike_factor, train.spike_window, train.spike_patience)
    identity = _identity(train, base.params)
    if checkpointer.latest_step() is None:
        state = mesh.placed(start, base.params, shardings=shardings)
        return Training(0, state, problems, documents, Watch(*spikes), first=0, base=identity)
    restored = checkpointer.restore(mesh.template(start, base.params, shardings=shardings))
    _check_base(restored.extra, identity, workdir=checkpointer.directory)
    problems.set_state(restored.data["problems"])
    documents.set_state(restored.data["documents"])
    watch = Watch(*spikes, restored.extra["watch"])
    return Training(restored.step, restored.state, problems, documents, watch, first=restored.step, base=identity)


def _identity(train: OuterConfig, base: Params) -> str | None:
    """What tells a base from others, where an adapter is trained on it; it reads all of the base."""
    return None if train.outer is None else records.checksum(checksums(array_tree.encode(base)))


def _check_base(extra: Mapping[str, Any], identity: str | None, workdir: Any) -> None:
    """Looks whether a checkpoint's adapter belongs to the base at hand.

    Raises:
      CheckpointError: it does not.
    """
    if extra.get("base") != identity:
        raise CheckpointError(
            f"The checkpoints in '{workdir}' hold an adapter of another base: that one's weights have the fingerprint "
            f"{extra.get('base')}, those at hand {identity}. Put the base back that it was trained on (model.source, "
            "or the folder base/ beside the run), or give another --workdir to train anew."
        )


def _advance(at: Training, base: Actor, train: Train, timer: Timer, workdir: Path) -> Record:
    """Makes the step ``at.step``, whose number the caller then raises; what is unusual about it is said.

    Raises:
      Preempted: by the timer; the state is that before the step, and the streams may be beyond it.
    """
    config, since = setup.make_outer(train), at.step - at.first
    began = time.perf_counter()
    with timer("data"):
        batch, replay = next(at.problems), next(at.documents)
        work = cost.work(base.method, config, len(base.task.check_names), len(batch), replay.tokens.shape)
        batch = [batch[i] for i in hosts.rows(len(batch))]
        replay = hosts.mine(replay)
    # Whatever crosses between host and devices does so on purpose.
    with profiling.step(since, workdir), jax.transfer_guard("disallow"):
        hooks = Hooks(timer, partial(at.watch.check, at.step), at.watch.limits())
        at.state, record = outer_step(base, config, at.state, at.step, batch, replay, hooks)
    skipped = at.watch.record(at.step, record.metrics)
    compiled = programs_compiled()
    if compiled and since >= WARM_UP:
        logging.warning("Step %d compiled %s: a shape that was new.", at.step, ", ".join(compiled))
    record.metrics.update(cost.throughput(work, time.perf_counter() - began) | peak_bytes())
    record.metrics.update({Metric.SKIPPED: skipped, Metric.PROGRAMS_COMPILED: len(compiled)})
    metagrad.warn_if_broken(base.method.estimator, record.diagnostics)
    well_formed = record.metrics.get(Metric.WELL_FORMED, 1.0)
    if since == 0 and well_formed < LEAST_WELL_FORMED and train.malformed_reward < 0:
        logging.warning(mostly_malformed(base.task, well_formed))
    if well_formed == 0 < at.well_formed:
        logging.warning(
            "Step %d: nothing that was written can be read any more, and nothing is learned from it. The generator was "
            "driven there: start again with a smaller train.generator_rate or train.attribution_weight, or with a "
            "train.malformed_reward below what wrong practice gets.",
            at.step,
        )
    at.well_formed = well_formed
    return record


def mostly_malformed(task: Task, share: float) -> str:
    """What to do where only a ``share`` of the practice is well formed, in words of what the domain has."""
    shown = "Show it worked practice (task.shots), lower" if hasattr(task, "shots") else "Lower"
    return (
        f"Only {100 * share:.0f} % of the practice is well formed: the generator mostly learns what can be read, and "
        f"little of what helps. {shown} generator.temperature, or set train.malformed_reward = 0 to leave the rest out."
    )


def load_trained(
    train: Train, seed: int, base: Actor, workdir: Path, owner: Mapping[str, Any] | None = None
) -> Trained:
    """What answers need of an arm's newest state, only read; the arguments are those of `meta_train`.

    All else stays on disk, and may be of another optimiser or an earlier version. Of ``base`` the parameters may be
    shapes, unless what is trained is an adapter of them.

    Raises:
      CheckpointError: there is none, it cannot be read, it was saved with another ``owner``, or it is of another base.
    """
    with Checkpointer(workdir / "checkpoints", config=owner) as checkpointer:
        template = mesh.template(_start(train, seed, base), base.params, shardings=shardings)
        trained = Trained(template.params, template.eta)
        restored = checkpointer.restore(trained, checkpointer.latest_step(), parts=Trained._fields)
        _check_base(restored.extra, _identity(train, base.params), checkpointer.directory)
        return for_answers(train, base.params, restored.state)


def _start(train: Train, seed: int, base: Actor) -> Callable[[Params], TrainState]:
    """What makes the state before the first step, of the model's parameters."""
    bare, config, checks = base.replace(params=None), setup.make_outer(train), len(base.task.check_names)
    key = jax.random.key(seed)
    return lambda params: init_state(bare.replace(params=params), config, checks, key)
