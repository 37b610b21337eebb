"""Pretraining of the base on documents of the domain; reused by every later run with the same settings."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import grain
import jax
import jax.numpy as jnp
import optax
from absl import logging

from mass_jax.mass.optimizers import stacked_matrices
from mass_jax.mass.packing import target_log_probs
from mass_jax.models import decoder, sharding
from mass_jax.models.config import ModelConfig
from mass_jax.parallel import hosts, mesh
from mass_jax.quantities import Metric
from mass_jax.runtime.checkpoint import Checkpointer
from mass_jax.runtime.guard import check_finite
from mass_jax.runtime.locks import alone
from mass_jax.runtime.metrics import MetricsWriter
from mass_jax.runtime.progress import Progress
from mass_jax.runtime.saved_params import load_params, save_params
from mass_jax.study.schema import Config, Pretrain
from mass_jax.types import Array, OptState, Params, Sequences

SAVE_EVERY = 200
"""Steps between checkpoints of an unfinished pretraining."""
LOG_EVERY = 10
CHECK_EVERY = 50
"""Steps between two looks at what the base would solve."""


def identity(config: Config) -> dict:
    """The fields that decide what the base is; where it ends by what it solves, so does which problems those are."""
    given = config.given
    fields = {name: given[name] for name in ("task", "model", "pretrain", "seed")}
    return fields | ({"gate": {"problems": given["gate"]["problems"]}} if config.pretrain.until else {})


def make_optimizer(settings: Pretrain) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024) on the layers' stacked matrices, AdamW on the rest; warm-up, plateau, linear decay.

    On this domain Muon needs about a third of AdamW's steps.
    """
    peak = settings.learning_rate
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, peak, settings.warmup_steps),
            optax.constant_schedule(peak),
            optax.linear_schedule(peak, 0.0, settings.decay_steps),
        ],
        [settings.warmup_steps, settings.steps - settings.decay_steps],
    )

    steps = [
        optax.clip_by_global_norm(1.0),
        optax.contrib.muon(
            schedule,
            adam_learning_rate=lambda step: settings.adam_ratio * schedule(step),
            adam_b2=0.98,
            muon_weight_dimension_numbers=stacked_matrices,
        ),
    ]
    return optax.chain(*steps, *([running_average(settings.average)] if settings.average else []))


def running_average(share: float) -> optax.GradientTransformation:
    """Changes no update; its state is the exponential moving average of the parameters that the updates lead to.

    At a constant rate the average is nearly what a decay to zero would end at, at every step (Polyak & Juditsky 1992;
    Haegele et al. 2024, arXiv 2405.18392).

    Args:
      share: of the new parameters, in 0 ... 1.
    """

    def update(updates: Params, average: Params, params: Params | None = None) -> tuple[Params, Params]:
        return updates, optax.incremental_update(optax.apply_updates(params, updates), average, share)

    return optax.GradientTransformation(lambda params: jax.tree.map(jnp.copy, params), update)


def pretrain(
    config: Config,
    model: ModelConfig,
    documents: Mapping[str, grain.DatasetIterator],
    workdir: Path,
    base_dir: Path,
    solved: Callable[[Params], float],
) -> Params:
    """Return the base of ``base_dir``, pretraining it first if there is none; runs that want the same one wait for it.

    Args:
      config: the run's config; ``pretrain`` and `identity` are read.
      model: the architecture.
      documents: fresh streams of sequences [B, T], by name; a step takes one batch of each. Two streams because short
        and long documents in one batch would be mostly padding.
      workdir: for metrics and the checkpoints of an unfinished pretraining, from which it continues.
      base_dir: where the base is kept between runs.
      solved: the share of validation problems that a base solves; asked for where ``pretrain.until`` is.

    Raises:
      CheckpointError: ``base_dir`` holds a base that was made with other settings; the message names them.
      NonFiniteError: the loss or the parameters are; what was saved before stays.
    """

    def there() -> bool:
        return bool(hosts.largest((base_dir / "0").exists()))

    if not there():
        lock = alone(base_dir.with_name(f"{base_dir.name}.lock"), "makes the same base")
        with lock if hosts.first() else nullcontext():
            hosts.wait("the base is this run's to make")
            if not there():
                params = _train(config, model, documents, workdir, solved)
                save_params(base_dir, params, identity(config))
                return params
    return load_base(config, model, base_dir)


def load_base(config: Config, model: ModelConfig, base_dir: Path) -> Params:
    """The base of ``base_dir``, only read; see `pretrain`."""
    init = partial(decoder.init, model, jax.random.key(config.seed))
    return load_params(base_dir, mesh.template(init, shardings=sharding.shardings), identity(config))


Update: TypeAlias = Callable[[Params, OptState, list[Sequences]], tuple[Params, OptState, dict[str, Any]]]


def _make_update(model: ModelConfig, optimizer: optax.GradientTransformation) -> Update:
    """One step on batches of documents, compiled; parameters and the optimiser's state are donated."""

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(
        params: Params, opt_state: OptState, batches: list[Sequences]
    ) -> tuple[Params, OptState, dict[str, Any]]:
        def loss(params: Params) -> Array:
            totals = [target_log_probs(model, params, None, documents) for documents in batches]
            return -jnp.sum(jnp.stack([jnp.sum(t) for t, _ in totals])) / sum(jnp.sum(n) for _, n in totals)

        value, gradient = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        metrics: dict[str, Any] = {Metric.PRETRAIN_LOSS: value, Metric.NORM_BASE: optax.tree.norm(gradient)}
        params, opt_state = sharding.constrain((optax.apply_updates(params, updates), opt_state))
        return params, opt_state, metrics

    return update


def _train(
    config: Config,
    model: ModelConfig,
    documents: Mapping[str, grain.DatasetIterator],
    workdir: Path,
    solved: Callable[[Params], float],
) -> Params:
    """A new base; the arguments are those of `pretrain`."""
    key, settings = jax.random.key(config.seed), config.pretrain
    optimizer = make_optimizer(settings)
    update = _make_update(model, optimizer)

    def base() -> Params:
        return opt_state[-1] if settings.average else params

    def start() -> tuple[Params, OptState]:
        params = decoder.init(model, key)
        return params, optimizer.init(params)

    with Checkpointer(workdir / "checkpoints", keep=2, config=identity(config)) as checkpointer:
        if checkpointer.latest_step() is None:
            done, (params, opt_state) = 0, mesh.placed(start, shardings=sharding.shardings)
        else:
            restored = checkpointer.restore(mesh.template(start, shardings=sharding.shardings))
            done, (params, opt_state) = restored.step, restored.state
            for name, stream in documents.items():
                stream.set_state(restored.data[name])
        with (
            MetricsWriter(workdir, resume_step=done, every=LOG_EVERY) as writer,
            Progress(settings.steps, start=done, label="pretrain", show=[Metric.PRETRAIN_LOSS]) as progress,
        ):
            step, share = done - 1, 0.0
            for step in range(done, settings.steps):
                last = step + 1 == settings.steps
                looks = settings.until and ((step + 1) % CHECK_EVERY == 0 or last)
                batches = hosts.share([hosts.mine(next(stream)) for stream in documents.values()])
                params, opt_state, metrics = update(params, opt_state, batches)
                if looks:
                    share = solved(base())
                    metrics[Metric.PRETRAIN_SOLVED], last = share, last or share >= settings.until
                if step % LOG_EVERY == 0 or looks or last:
                    check_finite(step, "pretrain", metrics=metrics)
                    progress.update(step + 1, writer.write(step, metrics))
                if (step + 1) % SAVE_EVERY == 0 and not last:  # a finished one has its base
                    check_finite(step, "save", params=params, opt_state=opt_state)
                    positions = {name: stream.get_state() for name, stream in documents.items()}
                    checkpointer.save(step + 1, (params, opt_state), data=positions)
                if last:
                    break
    if share < settings.until:
        logging.warning(
            "The base solves %.1f %% of the validation problems after pretrain.steps = %d, and pretrain.until asks for "
            "%.1f %%: give more steps, or ask for less.",
            100 * share,
            settings.steps,
            100 * settings.until,
        )
    check_finite(step, "save", params=base())
    return base()
