"""The two updates of an outer step (docs/method.md, steps 5 and 6): the scorer's, and the model's."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from mass_jax.mass import policy, scorer
from mass_jax.mass.actor import Actor
from mass_jax.mass.attribution import Attribution
from mass_jax.mass.state import OuterConfig, model_optimizer, scorer_optimizer
from mass_jax.models import sharding
from mass_jax.parallel import partition
from mass_jax.quantities import Metric
from mass_jax.types import AnyArray, Array, OptState, Params, Sequences


class Experience(NamedTuple):
    """Sequences for the clipped policy gradient, with what they were worth.

    Attributes:
      sequences: [..., T].
      log_probs: float [...], when they were sampled.
      advantages: float [...].
    """

    sequences: Sequences
    log_probs: AnyArray
    advantages: AnyArray


Gradient: TypeAlias = tuple[Params, dict[Metric, Array]]
"""A gradient, and the parts of the loss that it is of."""


class UpdateData(NamedTuple):
    """What one update of the model reads, P problems along the first axes.

    Attributes:
      experience: what was sampled, for the policy gradient.
      solve: references to be made likelier, [P, 1, T]; None in verifier mode.
      documents: for replay and KL, [B, T].
    """

    experience: tuple[Experience, ...]
    solve: Sequences | None
    documents: Sequences


@partial(jax.jit, static_argnames="count")
def scorer_gradient(
    actor: Actor, count: int, eta: Params, features_PxMxF: Array, valid_PxM: AnyArray, result: Attribution
) -> Params:
    """What these problems add to the gradient of the mean outer loss over ``count`` problems."""
    return scorer.pullback(
        actor.method.scorer, eta, features_PxMxF, valid_PxM, result.tau_PxM / count, result.dgate_P / count
    )


@partial(jax.jit, static_argnames="config")
def update_scorer(
    config: OuterConfig, eta: Params, opt_state: OptState, gradients: Sequence[Params], limit: AnyArray
) -> tuple[Params, OptState, Array, Array]:
    """One step of the scorer's optimiser on the sum of ``gradients``; also the norm, and 1 if it was skipped."""
    gradient = jax.tree.map(lambda *shares: sum(shares[1:], shares[0]), *gradients)
    return _step(scorer_optimizer(config), eta, opt_state, gradient, limit)


def model_loss(
    actor: Actor, config: OuterConfig, base: Params, data: UpdateData, document_tokens: AnyArray
) -> tuple[Array, dict[Metric, Array]]:
    """L_aux + gamma L_solve + replay + KL (docs/method.md, step 6), and its parts as metrics.

    The ratio of a sequence is exp of its summed log-ratio; its gradient is divided by the sequence's length. The means
    over documents are sums over ``document_tokens``, so that the mean over equal parts is that of the whole.
    """
    total, parts = jnp.zeros(()), dict[Metric, Array]()
    for batch in data.experience:
        log_probs, length = policy.sequence_log_probs(actor, batch.sequences)
        log_ratio = log_probs - batch.log_probs
        objective = policy.clipped_objective(log_ratio, jnp.asarray(batch.advantages), config.clip) / jnp.maximum(
            length, 1
        )
        total -= jnp.mean(objective)
    if data.solve is not None:
        log_probs, length = policy.sequence_log_probs(actor, data.solve)
        parts[Metric.SOLVE_LOSS] = -jnp.mean(log_probs / length)
        total += config.solve_weight * parts[Metric.SOLVE_LOSS]
    if config.replay_weight:
        log_probs, _ = policy.sequence_log_probs(actor, data.documents)
        parts[Metric.REPLAY_LOSS] = -jnp.sum(log_probs) / document_tokens
        total += config.replay_weight * parts[Metric.REPLAY_LOSS]
    if config.kl_weight:
        parts[Metric.REPLAY_KL] = policy.kl_to_base(actor, base, data.documents) / document_tokens
        total += config.kl_weight * parts[Metric.REPLAY_KL]
    return total, parts


def model_gradient(actor: Actor, config: OuterConfig, base: Params, data: UpdateData) -> Gradient:
    """The gradient of `model_loss`, added up from ``config.microbatches`` parts, and the loss's parts."""
    count, params = config.microbatches, actor.params
    tokens = jnp.sum(jnp.asarray(data.documents.target)[:, 1:]) / count

    def loss(params: Params, data: UpdateData) -> tuple[Array, dict[Metric, Array]]:
        return model_loss(actor.replace(params=params), config, base, data, tokens)

    gradient = jax.grad(loss, has_aux=True)
    if count == 1:
        found, parts = gradient(params, data)
        return sharding.constrain(found), parts

    def split(leaf: AnyArray, batch_axes: int) -> Array:
        # Row i is in part i mod count: what a device holds is a run of rows, some of which are in every part.
        rows = jnp.asarray(leaf).reshape(-1, count, *leaf.shape[batch_axes:]).swapaxes(0, 1)
        return partition.spread(rows, axis=1)

    def rows(sequences: Sequences) -> Sequences:
        return jax.tree.map(lambda leaf: split(leaf, leaf.ndim - 1), sequences)

    microbatches = UpdateData(
        tuple(Experience(rows(x.sequences), *(split(leaf, leaf.ndim) for leaf in x[1:])) for x in data.experience),
        None if data.solve is None else rows(data.solve),
        rows(data.documents),
    )

    def add(total: Gradient, part: UpdateData) -> tuple[Gradient, None]:
        found, parts = gradient(params, part)
        found = (sharding.constrain(found), parts)
        return jax.tree.map(lambda x, y: x + y.astype(x.dtype) / count, total, found), None

    # Added up in float32 at least, whatever the parameters are kept in.
    shapes = jax.eval_shape(gradient, params, jax.tree.map(lambda leaf: leaf[0], microbatches))
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), shapes)
    zero = (sharding.constrain(zero[0]), zero[1])
    (found, parts), _ = jax.lax.scan(add, zero, microbatches)
    return jax.tree.map(lambda x, like: x.astype(like.dtype), found, params), parts


@partial(jax.jit, static_argnames="config", donate_argnames=("actor", "opt_state"))
def update_model(
    actor: Actor, config: OuterConfig, opt_state: OptState, base: Params, data: UpdateData, limit: AnyArray
) -> tuple[Params, OptState, dict[Metric, Array]]:
    """One step of the model's optimiser on `model_loss`, if its gradient's norm is within ``limit``.

    The actor's parameters and the optimiser's state are donated. Also returns the loss's parts, the gradient's norm
    and whether the step was skipped.
    """
    gradient, parts = model_gradient(actor, config, base, data)
    params, opt_state, norm, skipped = _step(model_optimizer(config), actor.params, opt_state, gradient, limit)
    params, opt_state = sharding.constrain((params, opt_state))
    return params, opt_state, parts | {Metric.NORM_GENERATOR: norm, Metric.SKIPPED_GENERATOR: skipped}


def _step(
    optimizer: optax.GradientTransformation, params: Params, opt_state: OptState, gradient: Params, limit: AnyArray
) -> tuple[Params, OptState, Array, Array]:
    """One step, unless the gradient's norm is none or above ``limit``; also the norm, and 1 if it was skipped."""
    updates, moved = optimizer.update(gradient, opt_state)
    norm = optax.tree.norm(gradient)
    fine = (norm <= limit) & jnp.isfinite(optax.tree.norm(updates))
    stepped = (optax.apply_updates(params, updates), moved)
    params, opt_state = jax.tree.map(partial(jnp.where, fine), stepped, (params, opt_state))
    return params, opt_state, norm, 1.0 - fine
