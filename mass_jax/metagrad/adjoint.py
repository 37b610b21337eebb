"""The hand-written reverse walk over the inner steps: exact, fast, and small."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from mass_jax.metagrad.base import CotangentEstimator, InnerRun
from mass_jax.metagrad.blocks import remat_if
from mass_jax.metagrad.checks import check_cotangent, check_inputs, check_steps
from mass_jax.metagrad.second_order import Cotangents, pull_init, start_walk, step_back
from mass_jax.metagrad.trajectory import KINDS, Kind, Trajectory, place_finder, run
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, Params, PyTree


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
    than run backwards, the forward-over-reverse products of MixFlow-MG (Kemaev et al. 2025, arXiv 2505.00793), and the
    tree of snapshots of REPLAY (Engstrom et al. 2025, arXiv 2503.13751).

    Memory: one Hessian-vector product at a time (on ``hvp_microbatch`` examples), and what ``adapt`` keeps for
    ``pullback``; with φ the parameters and s the optimiser's state,

        trajectory="gradients"   K · φ                          K²/2 optimiser updates, elementwise, no model in them
        trajectory="states"      K · (2φ + s)                   nothing is computed again
        trajectory="host"        K · (2φ + s) in host memory    copied there and back
        trajectory="replay"      ((k−1) log_k K + 1) · (φ + s)  each step's gradient about log_k K times again

    Attributes:
      init_grad: whether to return the gradient with respect to ``init`` too, for one more Hessian-vector product.
      microbatch: examples of a step whose activations are alive at once, in both directions; None for all. Needs a
        loss that is a sum over examples, and divides their number. See ``sum_over_microbatches``.
      hvp_microbatch: the same for the second-order products alone, which keep a tangent beside every activation: half
        of ``microbatch`` makes the way back as small as the way there. None for ``microbatch``.
      hvp_remat: whether the second-order products recompute what the loss marks with ``jax.checkpoint``. Without, they
        take a third less arithmetic where a loss rematerialises its blocks; a small ``hvp_microbatch`` pays for it.
      grad_remat: the same for the run's gradients. These keep no tangents: without remat they take half of what the
        products would, and where remat keeps much of a block anyway, no more than the products do with it.
      trajectory: what is kept of the run. "gradients" suits adapters and optimisers that work elementwise; "replay"
        suits inner runs of all parameters over many steps.
      arity: k of the tree of snapshots.
    """

    init_grad: bool = False
    microbatch: int | None = None
    hvp_microbatch: int | None = None
    hvp_remat: bool = True
    grad_remat: bool = True
    trajectory: Kind = "gradients"
    arity: int = 2
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Rejects an unknown ``trajectory`` and an ``arity`` below 2."""
        if self.trajectory not in KINDS:
            raise ValueError(f"trajectory = {self.trajectory!r} is unknown; use one of {', '.join(KINDS)}.")
        if self.arity < 2:
            raise ValueError(f"arity = {self.arity}: a tree of snapshots needs 2 or more branches.")

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``. The residuals are a ``Trajectory``."""
        check_inputs(init, meta, batches)
        once = remat_if(self.grad_remat, problem)
        params, trajectory = run(once, init, meta, batches, self.trajectory, self.arity, self.microbatch)
        return InnerRun(params, trajectory.losses_K, trajectory)

    def pullback(
        self, problem: InnerProblem, residuals: Trajectory, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """See ``CotangentEstimator.pullback``."""
        init = residuals.init
        steps = check_inputs(init, meta, batches)
        check_steps(residuals.losses_K, steps)
        check_cotangent(cotangent, init)
        batches = jax.tree.map(jnp.asarray, batches)
        once = remat_if(self.grad_remat, problem)
        twice = remat_if(self.hvp_remat, problem)
        memory, find = place_finder(once, residuals, meta, batches, self.trajectory, self.arity, self.microbatch)
        size = self.hvp_microbatch or self.microbatch

        def back(carry: tuple[Cotangents, PyTree], t: Array | int, hessian: bool = True) -> tuple[tuple, None]:
            bar, memory = carry
            memory, place = find(memory, t)
            batch = jax.tree.map(lambda leaf: leaf[t], batches)
            return (step_back(twice, place, meta, batch, bar, size, hessian), memory), None

        carry = (start_walk(cotangent, jax.eval_shape(problem.optimizer.init, init), meta), memory)
        first = 0 if self.init_grad else 1
        if first < steps:
            carry, _ = jax.lax.scan(back, carry, jnp.arange(first, steps), reverse=True)
        if not self.init_grad:
            (bar, _), _ = back(carry, 0, hessian=False)
            return MetaGradient(bar.meta, None, {})
        return MetaGradient(carry[0].meta, pull_init(problem, init, carry[0]), {})
