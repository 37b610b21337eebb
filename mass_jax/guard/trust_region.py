"""The trust region: how far an adapter has moved, and how much of the way it may keep.

The distance is measured twice: L2 of the adapter's change from the fresh one, and KL(base || adapted) on anchors, which
are problems with reference solutions (the mean over the solutions' tokens). An update beyond a limit keeps the largest
part of its change that bisection finds within both: the direction stays, the length gives way.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mass_jax.mass import inner
from mass_jax.mass.actor import Actor
from mass_jax.mass.policy import divergences
from mass_jax.models import decoder
from mass_jax.types import AnyArray, Array, PyTree, Sequences

BISECTIONS = 8
"""The part that is kept is at most 1 / 256 of the change shorter than it might be."""


class Anchors(NamedTuple):
    """Where the models are compared.

    Attributes:
      sequences: solve prompt and reference solution, [A, T].
      counts_PxA: float, 0 where an anchor does not count for a problem, else 1.
    """

    sequences: Sequences
    counts_PxA: AnyArray


class Distance(NamedTuple):
    """How far P adapters have moved.

    Attributes:
      norm_P: L2 of the change.
      kl_P: KL(base || adapted), nats a token.
    """

    norm_P: Array
    kl_P: Array


@jax.jit
def distance(actor: Actor, fresh: PyTree, adapters: PyTree, anchors: Anchors) -> Distance:
    """How far adapters have moved from the fresh one.

    Args:
      actor: the un-adapted model.
      fresh: the adapter that all started from, which changes nothing.
      adapters: where they ended, every leaf [P, ...].
      anchors: where the models are compared.
    """
    base = _hidden(actor, None, anchors.sequences)

    def one(adapter: PyTree, counts_A: Array) -> Distance:
        return Distance(_norm(_change(fresh, adapter)), _kl(actor, adapter, anchors.sequences, counts_A, base))

    return inner.over_problems(actor.method.inner, one, adapters, anchors.counts_PxA)


@jax.jit
def scales(actor: Actor, fresh: PyTree, adapters: PyTree, anchors: Anchors, limits: tuple[float, float]) -> Array:
    """The part of each change that may stay, float [P] from 0 to 1; 1 where nothing is beyond a limit.

    Args:
      actor: as of `distance`.
      fresh: likewise.
      adapters: likewise.
      anchors: likewise.
      limits: of the norm, and of KL(base || adapted).
    """
    longest, furthest = limits
    base = _hidden(actor, None, anchors.sequences)

    def one(adapter: PyTree, counts_A: Array) -> Array:
        change = _change(fresh, adapter)

        def fits(scale: Array) -> Array:
            scaled = jax.tree.map(lambda start, move: start + scale * move, fresh, change)
            return _kl(actor, scaled, anchors.sequences, counts_A, base) <= furthest

        def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bounds
            middle = (low + high) / 2
            inside = fits(middle)
            return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

        most = jnp.minimum(1.0, longest / jnp.maximum(_norm(change), 1e-30))
        # Invariant: ``low`` fits, for a change of 0 is the base itself. The distance need not grow steadily.
        low, _ = jax.lax.fori_loop(0, BISECTIONS, halve, (jnp.zeros_like(most), most))
        return jnp.where(fits(most), most, low)

    return inner.over_problems(actor.method.inner, one, adapters, anchors.counts_PxA)


@jax.jit
def scaled(fresh: PyTree, adapters: PyTree, scales_P: AnyArray) -> PyTree:
    """The adapters with this part of their change: as they were, to the last bit, where it is 1; fresh where 0."""

    def leaf(start: Array, end: Array) -> Array:
        part = jnp.asarray(scales_P, end.dtype).reshape(-1, *(1,) * start.ndim)
        # Not multiplied where nothing is left: what is not finite would stay so.
        return jnp.where(part == 1, end, jnp.where(part == 0, start, start + part * (end - start)))

    return jax.tree.map(leaf, fresh, adapters)


@jax.jit
def norms(fresh: PyTree, adapters: PyTree) -> Array:
    """L2 of each adapter's change, float [P]."""
    return jax.vmap(lambda adapter: _norm(_change(fresh, adapter)))(adapters)


@jax.jit
def finite(adapters: PyTree) -> Array:
    """Whether all values of each adapter are, bool [P]."""
    leaves = [jnp.isfinite(leaf).reshape(leaf.shape[0], -1).all(axis=-1) for leaf in jax.tree.leaves(adapters)]
    return jnp.stack(leaves).all(axis=0)


def _change(fresh: PyTree, adapter: PyTree) -> PyTree:
    return jax.tree.map(jnp.subtract, adapter, fresh)


def _norm(change: PyTree) -> Array:
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(change)))


def _hidden(actor: Actor, adapter: PyTree, sequences: Sequences) -> Array:
    return decoder.forward(actor.method.model, actor.params, adapter, jnp.asarray(sequences.tokens)[:, :-1])[0]


def _kl(actor: Actor, adapter: PyTree, sequences: Sequences, counts_A: Array, base_AxTxD: Array) -> Array:
    """KL(base || adapted), the mean over the target's tokens of the anchors that count."""
    hidden = (_hidden(actor, adapter, sequences), base_AxTxD)
    found = divergences(actor.method.model, (actor.params, actor.params), hidden)
    counts = jnp.asarray(sequences.target)[:, 1:] * counts_A[:, None]
    return jnp.sum(found * counts) / jnp.maximum(jnp.sum(counts), 1)
