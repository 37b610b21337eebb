"""Pretraining of the base on documents of the domain; reused by every later run with the same settings.

Two phases, each with its own mix of documents: at first many that name the rule, so that the rules are learnt, then
many that do not, so that answering at once is. The rate warms up, stays, and falls linearly to zero in phase two.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import ml_collections
import optax

from mass_jax.models import transformer
from mass_jax.models.transformer import ModelConfig
from mass_jax.training.checkpoint import Checkpointer
from mass_jax.training.guard import check_finite
from mass_jax.training.metrics import MetricsWriter
from mass_jax.training.pretrained import load_params, save_params
from mass_jax.training.progress import Progress
from mass_jax.types import Array, OptState, Params

SAVE_EVERY = 200
"""Steps between checkpoints of an unfinished pretraining."""

Documents = Callable[[tuple[float, float, float], int], grain.DatasetIterator]
"""``documents(mix, seed)``: an endless stream of int32 [B, T]."""


def identity(config: ml_collections.ConfigDict) -> dict:
    """The fields that decide what the base is."""
    return {name: config[name].to_dict() for name in ("task", "model", "pretrain")} | {"seed": config.seed}


def pretrain(
    config: ml_collections.ConfigDict, model: ModelConfig, documents: Documents, workdir: Path, base_dir: Path
) -> Params:
    """Return the base of ``base_dir``, pretraining it first if there is none.

    Args:
      config: the run's config; ``pretrain`` and `identity` are read.
      model: the architecture.
      documents: makes the stream of a phase.
      workdir: for metrics and the checkpoints of an unfinished pretraining, from which it continues.
      base_dir: where the base is kept between runs.

    Raises:
      CheckpointError: ``base_dir`` holds a base that was made with other settings; the message names them.
    """
    key = jax.random.key(config.seed)
    if (base_dir / "0").exists():
        return load_params(base_dir, jax.eval_shape(partial(transformer.init, model), key), identity(config))
    settings = config.pretrain
    total = settings.first_steps + settings.second_steps
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, settings.learning_rate, settings.warmup_steps),
            optax.constant_schedule(settings.learning_rate),
            optax.linear_schedule(settings.learning_rate, 0.0, settings.second_steps),
        ],
        [settings.warmup_steps, settings.first_steps],
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.98, weight_decay=settings.weight_decay)
    )

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Params, opt_state: OptState, documents_BxT: Array) -> tuple[Params, OptState, dict[str, Array]]:
        def loss(params: Params) -> Array:
            return transformer.document_loss(model, params, documents_BxT)

        value, gradient = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        metrics = {"pretrain/loss": value, "grad_norm/base": optax.tree.norm(gradient)}
        return optax.apply_updates(params, updates), opt_state, metrics

    def start() -> tuple[Params, OptState]:
        params = transformer.init(model, key)
        return params, optimizer.init(params)

    def stream(step: int) -> grain.DatasetIterator:
        first = step < settings.first_steps
        return documents(settings.first_mix if first else settings.second_mix, config.seed + (0 if first else 1))

    with Checkpointer(workdir / "checkpoints", keep=2) as checkpointer:
        if checkpointer.latest_step() is None:
            done, (params, opt_state), iterator = 0, start(), stream(0)
        else:
            restored = checkpointer.restore(jax.eval_shape(start))
            done, (params, opt_state) = restored.step, restored.state
            iterator = stream(done)
            if restored.data is not None:
                iterator.set_state(restored.data)
        with (
            MetricsWriter(workdir, resume_step=done) as writer,
            Progress(total, start=done, label="pretrain", show=["pretrain/loss"]) as progress,
        ):
            for step in range(done, total):
                if step == settings.first_steps:
                    iterator = stream(step)
                params, opt_state, metrics = update(params, opt_state, jnp.asarray(next(iterator)))
                if step % 10 == 0 or step + 1 == total:
                    check_finite(step, "pretrain", metrics=metrics)
                    progress.update(step + 1, writer.write(step, metrics))
                if (step + 1) % SAVE_EVERY == 0:
                    # At the boundary the next phase opens a new stream, which has no position yet.
                    position = None if step + 1 == settings.first_steps else iterator.get_state()
                    checkpointer.save(step + 1, (params, opt_state), data=position)
    save_params(base_dir, params, identity(config))
    return params
