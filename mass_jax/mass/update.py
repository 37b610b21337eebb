"""The two updates of an outer step (docs/method.md, steps 5 and 6): the scorer's, and the model's."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from mass_jax.mass import objective, policy, scorer, theta, trust_region
from mass_jax.mass.actor import Actor
from mass_jax.mass.attribution import Attribution
from mass_jax.mass.objective import Experience, Sampled, UpdateData
from mass_jax.mass.state import OuterConfig, model_optimizer, scorer_optimizer
from mass_jax.models import sharding
from mass_jax.parallel import partition
from mass_jax.quantities import Metric
from mass_jax.types import AnyArray, Array, OptState, Params, PyTree, Sequences

Metrics: TypeAlias = dict[Metric, Array]
Gradient: TypeAlias = tuple[Params, Metrics]
"""A gradient, and what it is told of."""


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
    step = scorer_optimizer(config).update(gradient, opt_state, eta)
    return _taken(eta, opt_state, gradient, step, limit)


def model_gradient(actor: Actor, config: OuterConfig, base: Params, data: UpdateData) -> Gradient:
    """The gradient of all that the model's update minimises, and what it is made of.

    It is added up from ``config.microbatches`` parts. The policy gradient, of practice where there is any, is that of
    two halves of the problems: the cosine between them tells how much of it is signal. The anchors' norm is told
    beside that of the whole: near the base the KL is steep, and soon has the larger part of a step.

    Args:
      actor: what is trained, in the place of its parameters; see `theta.compose`.
      config: what is optimised.
      base: the pretrained parameters.
      data: what is read.
    """
    params, count = actor.params, config.microbatches
    tokens = jnp.sum(jnp.asarray(data.documents.target)[:, 1:]) / count
    sampled = data.sampled(actor, config)
    metrics: Metrics = {}

    def composed(trained: Params) -> Actor:
        return actor.replace(params=theta.compose(config.outer, base, trained))

    def solve_loss(params: Params, read: tuple[list[Experience], Sequences | None]) -> tuple[Array, Metrics]:
        moved, loss, told = composed(params), jnp.zeros(()), Metrics()
        for other, batch in zip(sampled[1:], read[0], strict=True):
            loss += objective.policy_loss(moved, config, other._replace(batch=batch))
        if read[1] is not None:
            told[Metric.SOLVE_LOSS] = objective.reference_loss(moved, read[1])
            loss += config.solve_weight * told[Metric.SOLVE_LOSS]
        return loss, told

    def anchors(params: Params, documents: Sequences) -> tuple[Array, Metrics]:
        return objective.anchors(composed(params), config, base, documents, tokens)

    holding, told = _added_up(anchors, params, data.documents, count)
    metrics |= told | {Metric.NORM_ANCHORS: optax.tree.norm(holding)}
    total = holding
    if len(sampled) > 1 or data.solve is not None:
        solving, told = _added_up(solve_loss, params, ([other.batch for other in sampled[1:]], data.solve), count)
        total, metrics = jax.tree.map(jnp.add, total, solving), metrics | told
    if sampled:
        first = sampled[0]
        number, parts = halving(config, first)

        def policy_loss(params: Params, batch: Experience) -> tuple[Array, Metrics]:
            part, apart = objective.anchored(actor, config, base, first._replace(batch=batch))
            return objective.policy_loss(composed(params), config, part), {Metric.KL_GENERATOR: apart}

        found = [_added_up(policy_loss, params, half, parts // number) for half in _halves(first, number)]
        metrics |= jax.tree.map(lambda *values: sum(values) / number, *(told for _, told in found))
        if number == 2:
            metrics[Metric.COSINE_GENERATOR] = _cosine(found[0][0], found[1][0])
        for half, _ in found:
            total = jax.tree.map(lambda x, y: x + y / number, total, half)
    return sharding.constrain(total), metrics


def halving(config: OuterConfig, sampled: Sampled) -> tuple[int, int]:
    """Into how many halves texts are split, 2 or 1; and in how many parts they are read, of all halves together.

    There is one half where the problems do not come out even, or the devices of a mesh.
    """
    rows, each = sampled.batch.log_probs.shape
    count = config.microbatches
    parts = count if count % 2 == 0 else 2 * count
    even = (rows // sampled.sets) % 2 == 0 and rows * each % (parts * partition.ways()) == 0
    return (2, parts) if even else (1, count)


def _halves(sampled: Sampled, number: int) -> list[Experience]:
    """Experience of every other problem."""

    def one(leaf: AnyArray, which: int) -> Array:
        split = jnp.asarray(leaf).reshape(-1, number, sampled.sets, *leaf.shape[1:])
        return split[:, which].reshape(-1, *leaf.shape[1:])

    return [jax.tree.map(partial(one, which=which), sampled.batch) for which in range(number)]


def _added_up(
    loss: Callable[[Params, PyTree], tuple[Array, Metrics]], params: Params, data: PyTree, count: int
) -> Gradient:
    """Gradient and metrics of a mean loss, added up from ``count`` equal parts of the data's rows.

    Of texts [P, S, T], a row is a problem with all its texts, where `policy.reads_once`; else a text.
    """
    gradient = jax.grad(loss, has_aux=True)
    if count == 1:
        found, told = gradient(params, data)
        return sharding.constrain(found), told

    microbatches = _in_parts(data, count)

    def add(total: Gradient, part: PyTree) -> tuple[Gradient, None]:
        found, told = gradient(params, part)
        found = (sharding.constrain(found), told)
        return jax.tree.map(lambda x, y: x + y.astype(x.dtype) / count, total, found), None

    # Added up in float32 at least, whatever the parameters are kept in.
    shapes = jax.eval_shape(gradient, params, jax.tree.map(lambda leaf: leaf[0], microbatches))
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), shapes)
    zero = (sharding.constrain(zero[0]), zero[1])
    (found, told), _ = jax.lax.scan(add, zero, microbatches)
    return jax.tree.map(lambda x, like: x.astype(like.dtype), found, params), told


def _in_parts(data: PyTree, count: int) -> PyTree:
    """Sequences and other arrays, their rows in ``count`` equal parts along a new first axis."""

    def split(leaf: AnyArray, batch_axes: int) -> Array:
        if policy.reads_once(len(leaf), count):
            batch_axes = 1
        # Row i is in part i mod count: what a device holds is a run of rows, some of which are in every part.
        rows = jnp.asarray(leaf).reshape(-1, count, *leaf.shape[batch_axes:]).swapaxes(0, 1)
        return partition.spread(rows, axis=1)

    def rows(found: PyTree) -> PyTree:
        if isinstance(found, Sequences):
            return jax.tree.map(lambda leaf: split(leaf, leaf.ndim - 1), found)
        return split(found, found.ndim)

    return jax.tree.map(rows, data, is_leaf=lambda x: isinstance(x, Sequences))


def _cosine(one: Params, other: Params) -> Array:
    """Of the angle between two gradients; 0 where one is 0."""
    # Products by element: a dot product would be of flat arrays, and those of split ones are gathered.
    product = optax.tree.sum(jax.tree.map(jnp.multiply, one, other))
    return product / jnp.maximum(optax.tree.norm(one) * optax.tree.norm(other), 1e-30)


@partial(jax.jit, static_argnames="config", donate_argnames=("actor", "opt_state"))
def update_model(
    actor: Actor,
    config: OuterConfig,
    opt_state: OptState,
    base: Params,
    data: UpdateData,
    limit: AnyArray,
    kl: AnyArray | float = math.inf,
) -> tuple[Params, OptState, Metrics]:
    """One step of the model's optimiser, if its gradient's norm is within ``limit``.

    With ``config.step_kl`` the step is shortened, until it moves what was sampled by at most ``kl`` nats a text. The
    other arguments are those of `model_gradient`; the actor's parameters and the optimiser's state are donated. Also
    returns the loss's parts, the gradient's norm, how long the step was (0 if skipped) and whether it was skipped.
    """
    gradient, parts = model_gradient(actor, config, base, data)
    length: Metrics = {}
    updates, moved = model_optimizer(config).update(gradient, opt_state, actor.params)
    if config.step_kl and (sampled := data.sampled(actor, config)):
        updates, length = trust_region.held(_distance(actor, config, base, sampled), actor.params, updates, kl)
    params, opt_state, norm, skipped = _taken(actor.params, opt_state, gradient, (updates, moved), limit)
    params, opt_state = sharding.constrain((params, opt_state))
    parts |= {name: jnp.where(skipped, 0.0, value) for name, value in length.items()}
    return params, opt_state, parts | {Metric.NORM_GENERATOR: norm, Metric.SKIPPED_GENERATOR: skipped}


def _distance(actor: Actor, config: OuterConfig, base: Params, sampled: Sequence[Sampled]) -> Callable[[Params], Array]:
    """How far other parameters are from the actor's: KL of what was sampled, in nats a text, the most of all kinds.

    Of the texts of every other problem, where there are halves.
    """
    found = [(halving(config, each), each) for each in sampled]
    read = [
        (_in_parts(_halves(each, number)[0].sequences, parts // number), each.spec) for (number, parts), each in found
    ]

    def log_probs(params: Params) -> list[Array]:
        composed = actor.replace(params=theta.compose(config.outer, base, params))
        return [jax.lax.map(partial(policy.text_log_probs, composed, spec=spec), texts) for texts, spec in read]

    # Computed anew, so that a step of no length has no distance: the sampler's own differ by rounding.
    before = log_probs(actor.params)

    def distance(params: Params) -> Array:
        return jnp.max(jnp.stack(list(map(trust_region.divergence, before, log_probs(params)))))

    return distance


def _taken(
    params: Params, opt_state: OptState, gradient: Params, step: tuple[Params, OptState], limit: AnyArray
) -> tuple[Params, OptState, Array, Array]:
    """A step's updates and next state, unless the gradient's norm is none or above ``limit``.

    Also the norm, and 1 if it was skipped.
    """
    updates, moved = step
    norm = optax.tree.norm(gradient)
    fine = (norm <= limit) & jnp.isfinite(optax.tree.norm(updates))
    stepped = (optax.apply_updates(params, updates), moved)
    params, opt_state = jax.tree.map(partial(jnp.where, fine), stepped, (params, opt_state))
    return params, opt_state, norm, 1.0 - fine
