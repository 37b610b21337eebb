"""Reverse mode through the whole inner run: the reference that every other estimator is measured against."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal

import jax

from mass_jax.metagrad.base import CotangentEstimator, InnerRun, OuterLoss, ValueAndGrad, inner_loop
from mass_jax.metagrad.checks import check_cotangent, check_inputs
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, Params


@dataclasses.dataclass(frozen=True)
class Unroll(CotangentEstimator):
    """Exact: ``jax.vjp`` of the K-step ``lax.scan``, reverse over reverse.

    Nothing is derived by hand, so there is nothing to get wrong: this is MAML's meta-gradient (Finn et al. 2017,
    arXiv 1703.03400, eq. 1) and the unrolled optimisation of Maclaurin et al. (2015, arXiv 1502.03492) as automatic
    differentiation gives it. The price is memory.

    ``adapt`` keeps only the initial point, so ``pullback`` runs the inner loop again, and its numbers are those of
    ``adapt`` only where the program is deterministic. ``value_and_grad`` runs it once.

    Memory: with C one step's activations (forward and backward), φ the parameters and s the optimiser's state,
        remat="none": K · C                     remat="step": K · (φ + s) + C, for one more run of the inner loop.

    Attributes:
      remat: "none" keeps every step's activations; "step" recomputes each step from its start.
      init_grad: whether to return the gradient with respect to ``init`` too. It costs nothing here: a scan treats its
        steps alike, so the first one's Hessian-vector product is computed anyway.
    """

    remat: Literal["none", "step"] = "none"
    init_grad: bool = False
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Rejects an unknown ``remat``."""
        if self.remat not in ("none", "step"):
            raise ValueError(f'remat = {self.remat!r} is unknown; use "none" or "step".')

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``. The residuals are ``init``."""
        check_inputs(init, meta, batches)
        params, losses_K, _ = inner_loop(problem, init, meta, batches)
        return InnerRun(params, losses_K, init)

    def pullback(
        self, problem: InnerProblem, residuals: Params, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """See ``CotangentEstimator.pullback``."""
        params, vjp = self._vjp(problem, residuals, meta, batches)
        check_cotangent(cotangent, params)
        return vjp(cotangent)

    def value_and_grad(self, problem: InnerProblem, outer_loss: OuterLoss) -> ValueAndGrad:
        """As ``CotangentEstimator.value_and_grad``, with one inner run in place of two."""

        def joined(init: Params, meta: Meta, batches: Batch) -> tuple[Array, MetaGradient]:
            params, vjp = self._vjp(problem, init, meta, batches)
            value, cotangent = jax.value_and_grad(outer_loss)(params)
            return value, vjp(cotangent)

        return joined

    def _vjp(
        self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch
    ) -> tuple[Params, Callable[[Params], MetaGradient]]:
        check_inputs(init, meta, batches)

        def final(meta: Meta, init: Params) -> Params:
            return inner_loop(problem, init, meta, batches, remat=self.remat == "step")[0]

        params, vjp = jax.vjp(final, meta, init)

        def pull(cotangent: Params) -> MetaGradient:
            meta_bar, init_bar = vjp(cotangent)
            return MetaGradient(meta_bar, init_bar if self.init_grad else None, {})

        return params, pull
