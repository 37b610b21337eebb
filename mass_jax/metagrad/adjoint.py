"""The hand-written reverse walk over the inner steps: exact, fast, and small."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mass_jax.metagrad.base import CotangentEstimator, InnerRun, inner_loop
from mass_jax.metagrad.checks import check_cotangent, check_inputs, check_steps
from mass_jax.metagrad.second_order import Cotangents, pull_init, start_walk, step_back
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, OptState, Params


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

        def back(bar: Cotangents, t: Array | int, hessian: bool = True) -> tuple[Cotangents, None]:
            # Indexed, not scanned over: slicing off the first step would copy the trajectory.
            place, batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[t], (residuals, batches))
            return step_back(problem, place, meta, batch, bar, self.microbatch, hessian), None

        bar = start_walk(cotangent, jax.tree.map(lambda leaf: leaf[0], residuals.state_K), meta)
        first = 0 if self.init_grad else 1
        if first < steps:
            bar, _ = jax.lax.scan(back, bar, jnp.arange(first, steps), reverse=True)
        if not self.init_grad:
            bar, _ = back(bar, 0, hessian=False)
            return MetaGradient(bar.meta, None, {})
        return MetaGradient(bar.meta, pull_init(problem, init, bar), {})
