"""What each practice example is worth to the generator (docs/method.md, step 5), from what the outer loss says of it.

With L the outer loss after the inner update at weights w, g the gate, and tau_i = dL / dw_i:

    marginal       -tau_i
    normalized     -tau_i / |grad CE_i|: what an example gains for the length of its own gradient
    leave_one_out  L(w without i) - L(w): what the set loses without the example
    complete       its share of the gain L(no update) - L(w); the shares of a set add up to it

All are 0 for an example of weight 0, and more is better.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mass_jax.mass import inner
from mass_jax.mass.actor import Actor
from mass_jax.mass.attribution import Weighed, outer_loss, outer_losses
from mass_jax.mass.packing import PracticeArrays, mean_log_probs
from mass_jax.mass.scorer import Scores
from mass_jax.types import AnyArray, Array, Meta, Params, PyTree, Sequences

MARGINAL, NORMALIZED, LEAVE_ONE_OUT, COMPLETE = KINDS = ("marginal", "normalized", "leave_one_out", "complete")
PATH_POINTS = 8
"""Of the sum that a complete credit is. On the model of the tests, whose gains are large, it errs by up to a tenth."""
NORM_FLOOR = 1e-2
"""Added to a gradient's squared norm, whose root divides: what is solved already has no direction to speak of."""


class CreditAt(NamedTuple):
    """Which credit, and where it is taken.

    Attributes:
      kind: of `KINDS`.
      uniform: at weights of 1 and an open gate, in place of the scorer's.
    """

    kind: str
    uniform: bool


@partial(jax.jit, static_argnames="at")
def credit(
    actor: Actor,
    at: CreditAt,
    adapters: tuple[PyTree, ...],
    scores: Scores,
    practice: PracticeArrays,
    asked_PxS: Weighed,
) -> Array:
    """The credit of each example, float [P, M]: its mean over inner runs from each of the fresh ``adapters``.

    Args:
      actor: the un-adapted model.
      at: which credit, and where it is taken.
      adapters: fresh ones.
      scores: the scorer's weights and gates.
      practice: of P problems.
      asked_PxS: what the outer loss weighs.
    """
    weights, gate = jnp.asarray(scores.weights_PxM), jnp.asarray(scores.gate_P)
    if at.uniform:
        weights, gate = jnp.asarray(practice.valid_PxM, weights.dtype), jnp.ones_like(gate)

    def one(adapter: PyTree) -> Array:
        run = _Run(actor, adapter, practice.examples, asked_PxS)
        if at.kind == COMPLETE:
            return _complete(run, weights, gate)
        if at.kind == LEAVE_ONE_OUT:
            return _leave_one_out(run, weights, gate)
        marginal = -run.gradient(weights, gate)["weights"]
        return marginal / run.lengths() if at.kind == NORMALIZED else marginal

    total, _ = jax.lax.scan(
        lambda total, adapter: (total + one(adapter), None),
        jnp.zeros_like(weights),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *adapters),
    )
    return total / len(adapters)


class _Run(NamedTuple):
    """An inner run on P problems' practice, and what the outer loss says of it."""

    actor: Actor
    adapter: PyTree
    examples: Sequences
    asked: Weighed

    def gradient(self, weights: AnyArray, gate: AnyArray) -> Meta:
        """Of the outer loss, by the weights [P, M] and the gate [P]."""
        actor, meta = self.actor, {"weights": weights, "gate": gate}
        run = inner.adapt(actor, self.adapter, meta, self.examples)
        loss = jax.grad(partial(outer_loss, actor))
        cotangent = inner.over_problems(actor.method.inner, loss, run.params, self.asked)
        return inner.pullback(actor, run, meta, self.examples, cotangent).meta

    def losses(self, weights: AnyArray, gate: AnyArray) -> Array:
        """The outer loss, [P]."""
        run = inner.adapt(self.actor, self.adapter, {"weights": weights, "gate": gate}, self.examples)
        return outer_losses(self.actor, run.params, self.asked)

    def lengths(self) -> Array:
        """Of each example's own gradient at the fresh adapter, [P, M]."""
        method, params = self.actor.method, self.actor.params

        def loss(adapter: Params, example: Sequences) -> Array:
            alone = jax.tree.map(lambda leaf: leaf[None], example)
            return -mean_log_probs(method.model, params, adapter, alone)[0]

        def squared(example: Sequences) -> Array:
            return optax.tree.norm(jax.grad(loss)(self.adapter, example), squared=True)

        found = inner.over_problems(method.inner, partial(jax.lax.map, squared), self.examples)
        return jnp.sqrt(found + NORM_FLOOR)


def _leave_one_out(run: _Run, weights: AnyArray, gate: AnyArray) -> Array:
    """One inner run without each example."""
    without = jax.lax.map(lambda left: run.losses(weights * (1 - left), gate), jnp.eye(weights.shape[-1]))
    return without.T - run.losses(weights, gate)[:, None]  # [M, P] to [P, M]


def _complete(run: _Run, weights: AnyArray, gate: AnyArray) -> Array:
    """Along the path from no update to the update.

    Aumann & Shapley 1974; along a path of models, integrated gradients, Sundararajan et al. 2017, arXiv 1703.01365.
    The path is the gate's: with c its share that is open, and v_i = w_i / sum_j w_j,

        gain = L(0) - L(1) = - int_0^1 g dL/dgate(c) dc,      credit_i = - int_0^1 [w_i tau_i(c) / c + v_i r(c)] dc
        r(c) = g dL/dgate(c) - sum_j w_j tau_j(c) / c

    so that the credits of a set add up to its gain, whatever the inner optimiser. r is 0 for plain SGD, where gate and
    weights are one scale; where the optimiser ignores the weights' scale, r is what it made of the whole set. It needs
    an estimator that differentiates the gate. The integral is a Gauss-Legendre sum of `PATH_POINTS` points.
    """
    shares = weights / jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), 1e-9)

    def add(total: Array, point: tuple[Array, Array]) -> tuple[Array, None]:
        opened, length = point
        found = run.gradient(weights, opened * gate)
        own = weights * found["weights"] / opened
        rest = gate * found["gate"] - jnp.sum(own, axis=-1)
        return total - length * (own + shares * rest[:, None]), None

    points, lengths = (np.asarray(column, np.float32) for column in np.polynomial.legendre.leggauss(PATH_POINTS))
    path_points = (jnp.asarray((points + 1) / 2, weights.dtype), jnp.asarray(lengths / 2, weights.dtype))
    return jax.lax.scan(add, jnp.zeros_like(weights), path_points)[0]
