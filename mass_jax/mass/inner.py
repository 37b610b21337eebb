"""The inner update (docs/method.md, step 3): K steps of a temporary adapter on the weighted practice set.

    inner loss at step t    (1 / N) sum_i w_i CE(a_i | p_i; theta + adapter)      CE is a mean over answer tokens

The weights and the gate are explicit meta-parameters, so that their gradient is what an estimator returns:
``meta = {"weights": [M], "gate": []}``.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from mass_jax.mass.actor import Actor
from mass_jax.mass.method import InnerConfig
from mass_jax.mass.packing import mean_log_probs
from mass_jax.metagrad import InnerRun, optimizers
from mass_jax.models import sharding
from mass_jax.parallel import partition
from mass_jax.types import Array, InnerOptimizer, InnerProblem, Meta, MetaGradient, Params, PyTree, Sequences

Out = TypeVar("Out", bound=PyTree)


class StepBatch(NamedTuple):
    """The practice of one inner step (stacked: of K steps, with a leading axis K).

    Attributes:
      practice: sequences [N, T].
      index_N: int32, which of the M examples these are.
    """

    practice: Sequences
    index_N: Array


def schedule(config: InnerConfig, practice: Sequences) -> StepBatch:
    """Distribute one problem's practice [M, T] over the K steps."""
    index = jnp.arange(practice.tokens.shape[0])
    if config.schedule == "fresh":
        # M = K · N: step t has the examples t · N to (t + 1) · N - 1.
        index_KxN = index.reshape(config.steps, -1)
    else:
        index_KxN = jnp.broadcast_to(index, (config.steps, index.size))
    # [M, T] indexed by [K, N] is [K, N, T].
    return StepBatch(jax.tree.map(lambda leaf: leaf[index_KxN], practice), index_KxN)


def make_problem(actor: Actor) -> InnerProblem:
    """The inner problem of one task on top of the actor, which is frozen."""
    method = actor.method
    per_step = method.generator.examples
    if method.inner.schedule == "fresh":
        per_step //= method.inner.steps

    def loss(adapter: Params, meta: Meta, batch: StepBatch) -> Array:
        log_probs_N = mean_log_probs(method.model, actor.params, adapter, batch.practice)
        # Divided by a constant, not by the weights' sum: additive over examples, and the weights keep their scale.
        return -jnp.sum(meta["weights"][batch.index_N] * log_probs_N) / per_step

    # Behind the optimiser, whatever its own scale: a gate of 0 leaves the adapter as it was.
    return InnerProblem(loss, optimizers.scaled(make_optimizer(method.inner), lambda meta, step: meta["gate"]))


def make_optimizer(config: InnerConfig) -> InnerOptimizer:
    """The inner optimiser by name."""
    if config.optimizer == "sgd":
        return optimizers.sgd(config.learning_rate)
    if config.optimizer == "adam":
        return optimizers.adam(config.learning_rate)
    # Where practice is already solved its gradient is nearly nothing: a full-length step along it would be noise, and
    # its derivative, 1 / norm, would make that problem's attributions drown all others'.
    return optimizers.normalized_sgd(config.learning_rate, eps_root=1e-4)


def adapt(actor: Actor, adapter: PyTree, meta_P: Meta, practice_PxM: Sequences) -> InnerRun:
    """Adapt to P problems at once, from one fresh adapter; every leaf of the result has a leading axis P."""
    problem, method = make_problem(actor), actor.method

    def one(meta: Meta, practice: Sequences) -> InnerRun:
        return method.estimator.adapt(problem, adapter, meta, schedule(method.inner, practice))

    return sharding.constrain_adapters(over_problems(method.inner, one, meta_P, practice_PxM))


def pullback(actor: Actor, run: InnerRun, meta_P: Meta, practice_PxM: Sequences, cotangent_P: PyTree) -> MetaGradient:
    """Pull the cotangents of the P adapted adapters back to each problem's weights and gate."""
    problem, method = make_problem(actor), actor.method

    def one(residuals: PyTree, meta: Meta, practice: Sequences, cotangent: PyTree) -> MetaGradient:
        batches = schedule(method.inner, practice)
        return method.estimator.pullback(problem, residuals, meta, batches, cotangent)

    return over_problems(method.inner, one, run.residuals, meta_P, practice_PxM, cotangent_P)


def over_problems(config: InnerConfig, fn: Callable[..., Out], *trees_P: PyTree) -> Out:
    """``fn`` of every problem's part of ``trees_P``, ``config.problems_at_once`` at a time.

    On a mesh problems are spread over it, and those that are done at once lie on different devices.
    """
    every = jax.vmap(fn, spmd_axis_name=partition.PROBLEMS if partition.active() else None)
    trees_P, problems = partition.spread(trees_P), jax.tree.leaves(trees_P)[0].shape[0]
    count, at_once = rounds(config, problems, partition.ways())
    if at_once == problems:
        return partition.spread(every(*trees_P))
    # Problem i is done in round i mod count: what a device holds is a run of problems, one of which is done a round.
    rest = count * at_once - problems
    filled = jax.tree.map(lambda x: jnp.concatenate([x, x[:rest]]) if rest else x, trees_P)
    # [P, ...] to [at_once, count, ...] to [count, at_once, ...]: entry (r, d) is problem d · count + r.
    grouped = jax.tree.map(lambda x: x.reshape(at_once, count, *x.shape[1:]).swapaxes(0, 1), filled)
    done = jax.lax.map(lambda trees: every(*trees), partition.spread(grouped, axis=1))
    # The same backwards; what was filled up is cut off.
    ungrouped = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(at_once * count, *x.shape[2:])[:problems], done)
    return partition.spread(ungrouped)


def rounds(config: InnerConfig, problems: int, ways: int) -> tuple[int, int]:
    """In how many rounds problems are done, and how many of them in each; each round fills a mesh of ``ways`` parts."""
    count = -(-problems // _multiple(config.problems_at_once or problems, ways))
    return count, _multiple(-(-problems // count), ways)


def _multiple(count: int, of: int) -> int:
    """The least multiple of ``of`` that is not below ``count``."""
    return -(-count // of) * of
