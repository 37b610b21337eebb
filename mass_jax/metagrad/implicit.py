"""The implicit function theorem at the adapted parameters: where the run ended counts, not how it got there."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mass_jax.metagrad.base import CotangentEstimator, InnerRun, inner_loop
from mass_jax.metagrad.checks import check_cotangent, check_inputs, check_steps
from mass_jax.metagrad.microbatch import sum_over_microbatches
from mass_jax.metagrad.second_order import loss_and_grad, mixed_term, second_order
from mass_jax.metagrad.solvers import conjugate_gradient, neumann, nystrom
from mass_jax.types import Array, Batch, InnerOptimizer, InnerProblem, Meta, MetaGradient, OptState, Params, PyTree

SOLVERS = ("cg", "neumann", "nystrom")
LIMIT = 0.1
"""Of both diagnostics: above it, the assumption counts as broken."""


class ImplicitResiduals(NamedTuple):
    """φ_0, φ_K and the losses [K] of the run."""

    init: Params
    params: Params
    losses_K: Array


@dataclasses.dataclass(frozen=True)
class Implicit(CotangentEstimator):
    """Approximate: φ_K is taken as a stationary point φ*(w) of the inner loss, and the path to it is ignored.

    With ℓ(φ, w) = (1/K) Σ_t ℓ_t(φ, w) over the K batches, differentiate the condition that defines φ*:

        ∇_φ ℓ(φ*(w), w) = 0    ⟹    ∂φ*/∂w = −H⁻¹ ∂²ℓ/∂φ∂w,    H = ∂²ℓ/∂φ∂φ at φ*
        dL/dw = −(∂²ℓ/∂w∂φ) x,    (H + damping I) x = λ = ∂L_outer/∂φ_K.

    ℓ is the mean of the batches' losses because that is what a run over several batches settles on; if all are equal,
    it is the inner loss itself. A mean, and not a sum, so that ``damping`` and ``proximal`` mean the same for any K.
    The linear system is solved approximately, from products H v alone:

        solver="cg"        conjugate gradient, ``iterations`` steps: the fewest products; H must be positive definite
        solver="neumann"   α Σ_{j≤iterations} (I − α (H + damping I))^j λ: the shrinkage towards short horizons of
                           truncated backpropagation through SGD with rate α; diverges if α is too large
        solver="nystrom"   H from ``iterations`` of its columns, drawn with ``seed``, then inverted in closed form:
                           needs damping, and cannot diverge

    With ``proximal`` = μ > 0, ``adapt`` runs on ℓ_t(φ, w) + μ/2 ‖φ − φ_0‖² (iMAML). H gains μ I, which helps it to be
    positive definite, and φ* depends on the initial point: dL/dφ_0 = μ (H + μ I + damping I)⁻¹ λ. Without it a
    stationary point does not remember where the run began.

    Sources: Bengio (2000), Gradient-based optimization of hyperparameters; Pedregosa (2016, arXiv 1602.02355) for
    conjugate gradient; Lorraine et al. (2020, arXiv 1911.02590, alg. 3) for Neumann; Hataya & Yamada (2023, arXiv
    2302.09726) for Nystrom; iMAML (Rajeswaran et al. 2019, arXiv 1909.04630, eq. 6) for the proximal term.

    Assumes a converged run, an isolated minimum, and an optimiser whose fixed points are the stationary points of ℓ:
    decoupled weight decay, for one, has others. Hyper-parameters that only the optimiser reads get zero. Bias: of the
    order of ‖∇ℓ(φ_K)‖ / λ_min(H), far from convergence (few steps, as in MASS) anything; damping shrinks the answer
    along eigenvectors of H with eigenvalues below it.

    Memory: 2 φ kept between ``adapt`` and ``pullback``, whatever K; one Hessian-vector product (on ``microbatch``
    examples) and 4 φ for the solver, or ``iterations`` · φ for Nystrom. Time: (``iterations`` + 1) · K Hessian-vector
    products, and 2 K gradients for the diagnostics.

    Diagnostics, both 0 where the theory holds:
      ``stationarity``: ‖∇ℓ(φ_K) + μ (φ_K − φ_0)‖ relative to ‖∇ℓ(φ_0)‖, hence independent of the scale of the loss.
      ``solver_residual``: ‖(H + μ I + damping I) x − λ‖ / ‖λ‖, with the true H for every solver.

    Attributes:
      solver: "cg", "neumann" or "nystrom".
      iterations: Hessian-vector products of the solver on each batch: steps, terms after the first, or columns.
      damping: added to the diagonal of H; the bias is the price of a solution that exists and is found sooner.
      proximal: μ; 0 leaves the inner run as it is.
      alpha: α of the Neumann series; below 2 / (largest eigenvalue of H + μ + damping). Others do not read it.
      seed: of the columns of Nystrom. Others do not read it.
      init_grad: whether to return the gradient with respect to ``init`` too; needs ``proximal``.
      microbatch: as for ``Adjoint``.
    """

    solver: Literal["cg", "neumann", "nystrom"] = "cg"
    iterations: int = 20
    damping: float = 0.0
    proximal: float = 0.0
    alpha: float = 0.1
    seed: int = 0
    init_grad: bool = False
    microbatch: int | None = None
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Rejects an unknown ``solver`` and options out of range."""
        if self.solver not in SOLVERS:
            raise ValueError(f"solver = {self.solver!r} is unknown; use one of {', '.join(SOLVERS)}.")
        if self.iterations < 1:
            raise ValueError(f"iterations = {self.iterations}: the solver needs at least 1.")
        for name, value in (("damping", self.damping), ("proximal", self.proximal)):
            if not value >= 0:
                raise ValueError(f"{name} = {value} is negative: it would make the Hessian less convex; use 0 or more.")
        if not self.alpha > 0:
            raise ValueError(f"alpha = {self.alpha}: the step of the Neumann series is positive.")
        if self.solver == "nystrom" and not self.damping + self.proximal > 0:
            raise ValueError(
                "solver = 'nystrom' inverts an approximation of low rank, which has no inverse without a diagonal: "
                "set damping or proximal above 0."
            )
        if self.init_grad and not self.proximal:
            raise ValueError(
                "init_grad = True with proximal = 0: a stationary point of the inner loss does not depend on where the "
                "run began, so that gradient is zero; set proximal above 0, or use an estimator that follows the run."
            )

    def assumption(self, diagnostics: Mapping[str, float]) -> str | None:
        """See ``Estimator.assumption``: a run that has not converged, or a system that is not solved."""
        stationarity, residual = diagnostics["stationarity"], diagnostics["solver_residual"]
        if not stationarity <= LIMIT:
            return (
                f"implicit takes the adapted parameters as a stationary point of the inner loss, but its gradient "
                f"there is {stationarity:.2g} of that at the start (limit {LIMIT}): run more inner steps, raise "
                "proximal, or use an estimator that follows the run, such as adjoint."
            )
        if not residual <= LIMIT:
            return (
                f"implicit solves a linear system with the Hessian, but {self.solver} with {self.iterations} "
                f"iterations left a relative residual of {residual:.2g} (limit {LIMIT}): raise iterations or damping"
                + (", or lower alpha if it diverges." if self.solver == "neumann" else ".")
            )
        return None

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``. The residuals are ``ImplicitResiduals``; the losses lack the proximal term.

        Raises:
          ValueError: "cg" or "nystrom" for a ``problem.gradient``, whose Jacobian need not be symmetric.
        """
        check_inputs(init, meta, batches)
        if problem.gradient is not None and self.solver != "neumann":
            raise ValueError(
                f"solver = {self.solver!r} needs a symmetric Hessian, but the inner problem has a gradient of its own, "
                'whose Jacobian may not be symmetric; use solver="neumann".'
            )
        pulled = _proximal(problem, init, self.proximal) if self.proximal else problem
        params, losses_K, _ = inner_loop(pulled, init, meta, batches, microbatch=self.microbatch)
        return InnerRun(params, losses_K, ImplicitResiduals(init, params, losses_K))

    def pullback(
        self, problem: InnerProblem, residuals: ImplicitResiduals, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """See ``CotangentEstimator.pullback``."""
        init, params = residuals.init, residuals.params
        steps = check_inputs(init, meta, batches)
        check_steps(residuals.losses_K, steps)
        check_cotangent(cotangent, params)
        batches = jax.tree.map(jnp.asarray, batches)
        shift = self.damping + self.proximal

        def mean_over_batches(fn: Callable[[Batch], PyTree]) -> PyTree:
            # The steps stand where examples would: slices [1, ...] of [K, ...], one batch at a time.
            total = sum_over_microbatches(lambda part: fn(jax.tree.map(lambda leaf: leaf[0], part)), batches, 1)
            return jax.tree.map(lambda leaf: leaf / steps, total)

        def gradient(at: Params) -> Params:
            return mean_over_batches(lambda batch: loss_and_grad(problem, at, meta, batch, self.microbatch)[1])

        def hessian(along: Params) -> Params:
            return mean_over_batches(
                lambda batch: second_order(problem, params, meta, batch, along, self.microbatch)[0]
            )

        def shifted(along: Params) -> Params:
            return optax.tree.add_scale(hessian(along), shift, along)

        if self.solver == "cg":
            solution = conjugate_gradient(shifted, cotangent, self.iterations)
        elif self.solver == "neumann":
            solution = neumann(shifted, cotangent, self.iterations, self.alpha)
        else:
            solution = nystrom(hessian, cotangent, self.iterations, shift, jax.random.key(self.seed))

        mixed = mean_over_batches(lambda batch: mixed_term(problem, params, meta, batch, solution, self.microbatch))
        moved = jax.tree.map(jnp.subtract, params, init)
        objective_gradient = optax.tree.add_scale(gradient(params), self.proximal, moved)
        diagnostics = {
            "stationarity": _ratio(objective_gradient, gradient(init)),
            "solver_residual": _ratio(jax.tree.map(jnp.subtract, shifted(solution), cotangent), cotangent),
        }
        by_init = optax.tree.scale(self.proximal, solution) if self.init_grad else None
        return MetaGradient(jax.tree.map(jnp.negative, mixed), by_init, diagnostics)


def _proximal(problem: InnerProblem, init: Params, strength: float) -> InnerProblem:
    """The problem with μ/2 ‖φ − φ_0‖² in every step's objective.

    Its gradient joins in the optimiser and not in the loss: there it is added once, however the batch is split.
    """

    def update(grads: Params, state: OptState, params: Params, meta: Meta) -> tuple[Params, OptState]:
        pull = jax.tree.map(jnp.subtract, params, init)
        return problem.optimizer.update(optax.tree.add_scale(grads, strength, pull), state, params, meta)

    return problem._replace(optimizer=InnerOptimizer(problem.optimizer.init, update))


def _ratio(numerator: Params, denominator: Params) -> Array:
    """‖numerator‖ / ‖denominator‖; 0 if both are zero."""
    norm = optax.tree.norm(denominator)
    return optax.tree.norm(numerator) / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny)
