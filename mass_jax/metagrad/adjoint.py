"""The hand-written reverse walk over the inner steps: exact, fast, and small."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mass_jax.metagrad.base import CotangentEstimator, InnerRun, inner_loop
from mass_jax.metagrad.checks import check_cotangent, check_inputs, check_steps
from mass_jax.metagrad.microbatch import sum_over_microbatches
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, OptState, Params, PyTree


class Trajectory(NamedTuple):
    """What the walk needs of each step, stacked over K: where it stood, and the gradient it took there."""

    params_K: Params
    state_K: OptState
    grads_K: Params


@dataclasses.dataclass(frozen=True)
class Adjoint(CotangentEstimator):
    """Exact: one Hessian-vector product a step, walking the stored trajectory backwards.

    Write one inner step as g = ∇_φ ℓ(φ_t, w), (φ_{t+1}, s_{t+1}) = U(g, s_t, φ_t, w), with w the meta-parameters. With
    (λ, σ) the cotangents of (φ_{t+1}, s_{t+1}), reverse mode is

        (ḡ, σ', λ', w̄_U) = (∂U)ᵀ (λ, σ)              the optimiser: elementwise, no model in it
        λ ← λ' + ∂²ℓ/∂φ∂φ ḡ,   σ ← σ'                 the Hessian-vector product
        w̄ ← w̄ + w̄_U + ∂²ℓ/∂w∂φ ḡ                     the mixed term

    and both second-order terms are the tangent of ``jax.grad(loss, argnums=(0, 1))`` along (ḡ, 0): forward over
    reverse. When w holds a weight for each example, the mixed term is τ_i = ⟨ḡ, ∇ℓ_i(φ_t)⟩ for all of them at once,
    and no per-example gradient is ever formed. The first step's Hessian-vector product only serves the gradient with
    respect to ``init``; without it that step is a forward-mode derivative of ∂ℓ/∂w.

    Sources: the reverse walk of Maclaurin et al. (2015, arXiv 1502.03492, alg. 2), with the trajectory stored rather
    than run backwards, and the forward-over-reverse products of MixFlow-MG (Kemaev et al. 2025, arXiv 2505.00793).

    Memory: K · (2φ + s) kept between ``adapt`` and ``pullback``, with φ the parameters and s the optimiser's state,
    plus one Hessian-vector product alive at a time (on ``microbatch`` examples).

    Attributes:
      init_grad: whether to return the gradient with respect to ``init`` too, for one more Hessian-vector product.
      microbatch: examples of a step whose activations are alive at once, in both directions; None for all. Needs a
        loss that is a sum over examples, and divides their number. See ``sum_over_microbatches``.
    """

    init_grad: bool = False
    microbatch: int | None = None
    exact: ClassVar[bool] = True

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``. The residuals are a ``Trajectory``."""
        check_inputs(init, meta, batches)
        params, losses_K, trajectory = inner_loop(
            problem,
            init,
            meta,
            batches,
            keep=lambda params, state, grads, new_params: Trajectory(params, state, grads),
            microbatch=self.microbatch,
        )
        return InnerRun(params, losses_K, trajectory)

    def pullback(
        self, problem: InnerProblem, residuals: Trajectory, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """See ``CotangentEstimator.pullback``."""
        init = jax.tree.map(lambda leaf: leaf[0], residuals.params_K)
        steps = check_inputs(init, meta, batches)
        check_steps(residuals, steps)
        check_cotangent(cotangent, init)

        def back(
            carry: tuple[Params, list[Array], Meta], t: Array | int
        ) -> tuple[tuple[Params, list[Array], Meta], None]:
            params_bar, state_bar, meta_bar = carry
            # Indexed, not scanned over: slicing off the first step would copy the trajectory.
            (params, state, grads), batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[t], (residuals, batches))
            grads_bar, state_bar, params_bar, meta_bar_update = _pull_update(
                problem, grads, state, params, meta, (params_bar, state_bar)
            )
            along_params, along_meta = sum_over_microbatches(
                lambda part: _second_order(problem, params, meta, part, grads_bar), batch, self.microbatch
            )
            params_bar = jax.tree.map(jnp.add, params_bar, along_params)
            meta_bar = jax.tree.map(lambda a, b, c: a + b + c, meta_bar, meta_bar_update, along_meta)
            return (params_bar, state_bar, meta_bar), None

        state_floats, _ = _split_floating(residuals.state_K)
        carry = (
            cotangent,
            [jnp.zeros(leaf.shape[1:], leaf.dtype) for leaf in state_floats],
            jax.tree.map(jnp.zeros_like, meta),
        )
        first = 0 if self.init_grad else 1
        if first < steps:
            carry, _ = jax.lax.scan(back, carry, jnp.arange(first, steps), reverse=True)
        if not self.init_grad:
            # Outside the scan: nobody reads this step's Hessian-vector product, so the compiler drops it.
            (_, _, meta_bar), _ = back(carry, 0)
            return MetaGradient(meta_bar, None, {})
        params_bar, state_bar, meta_bar = carry
        _, pull_init = jax.vjp(lambda params: _split_floating(problem.optimizer.init(params))[0], init)
        (init_bar,) = pull_init(state_bar)
        return MetaGradient(meta_bar, jax.tree.map(jnp.add, params_bar, init_bar), {})


def _pull_update(
    problem: InnerProblem, grads: Params, state: OptState, params: Params, meta: Meta, bar: tuple[Params, list[Array]]
) -> tuple[Params, list[Array], Params, Meta]:
    """Cotangents of the gradient, the state's floating leaves, the parameters and meta through one optimiser step."""
    state_floats, join = _split_floating(state)

    def update(grads: Params, state_floats: list[Array], params: Params, meta: Meta) -> tuple[Params, list[Array]]:
        new_params, new_state = problem.optimizer.update(grads, join(state_floats), params, meta)
        return new_params, _split_floating(new_state)[0]

    return jax.vjp(update, grads, state_floats, params, meta)[1](bar)


def _second_order(
    problem: InnerProblem, params: Params, meta: Meta, batch: Batch, along: Params
) -> tuple[Params, Meta]:
    """∂²ℓ/∂φ∂φ · along and ∂²ℓ/∂w∂φ · along."""
    return jax.jvp(lambda p: jax.grad(problem.loss, argnums=(0, 1))(p, meta, batch), (params,), (along,))[1]


def _split_floating(tree: PyTree) -> tuple[list[Array], Callable[[list[Array]], PyTree]]:
    """The floating leaves, and a function that puts others in their place: step counts and keys have no cotangent."""
    leaves, treedef = jax.tree.flatten(tree)
    floating = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

    def join(floats: list[Array]) -> PyTree:
        remaining = iter(floats)
        merged = [next(remaining) if is_float else leaf for leaf, is_float in zip(leaves, floating, strict=True)]
        return jax.tree.unflatten(treedef, merged)

    return [leaf for leaf, is_float in zip(leaves, floating, strict=True) if is_float], join
