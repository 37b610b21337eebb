"""The exact reverse walk, stopped early: only the last steps are differentiated."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mass_jax.metagrad.base import CotangentEstimator, InnerRun, inner_step
from mass_jax.metagrad.checks import check_cotangent, check_inputs, check_steps
from mass_jax.metagrad.second_order import Cotangents, pull_init, start_walk, step_back
from mass_jax.metagrad.trajectory import Place
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, OptState, Params


class Window(NamedTuple):
    """What is kept: φ_0, the losses of all steps, and the places of the last ones, stacked over the window."""

    init: Params
    losses_K: Array
    places_W: Place


@dataclasses.dataclass(frozen=True)
class Truncated(CotangentEstimator):
    """Approximate: the steps before the last ``window`` are taken as independent of meta.

    Unrolled, the meta-gradient is a sum over steps t of J_{K-1} … J_{t+1} B_t, with J = ∂(φ, s)_{t+1}/∂(φ, s)_t and
    B_t what meta does in step t directly. The walk of ``Adjoint`` computes it from the last step on; here it ends
    after ``window`` of them. With ``window`` ≥ K nothing is cut, and the result is exact.

    Bias: the terms of the early steps. Where the inner loss is strongly convex along the run the J contract, and the
    bias decays exponentially with the window; where they do not, it does not (Shaban et al. 2019, arXiv 1810.10667,
    thm. 3.2 and prop. 3.1). Meta-parameters that only early steps read, such as those steps' example weights, get
    exactly zero.

    Memory: window · (2φ + s) kept between ``adapt`` and ``pullback``, whatever K is, plus one Hessian-vector product.

    Diagnostics:
      ``cut_norm``: the length of the cotangent of the parameters where the walk was cut, over its length at the end
        of the run: near 0, the early steps are forgotten and nothing much was cut; near 1 or above, the cut terms are
        as large as those that were kept. 0 where nothing was cut.

    Attributes:
      window: steps that are differentiated.
      init_grad: whether to return the gradient with respect to ``init`` too. It is zero, by the same approximation,
        unless the window covers the run; then it costs one more Hessian-vector product.
      microbatch: as for ``Adjoint``.
    """

    window: int = 1
    init_grad: bool = False
    microbatch: int | None = None
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Rejects a window without steps."""
        if self.window < 1:
            raise ValueError(f"window = {self.window}: at least 1 step must be differentiated.")

    def assumption(self, diagnostics: Mapping[str, float]) -> str | None:
        """Broken where more than half of the cotangent's length is left at the cut."""
        cut = diagnostics["cut_norm"]
        if cut <= 0.5:
            return None
        return (
            f"truncated: {cut:.2g} of the cotangent's length was left where the walk was cut after {self.window} steps "
            "(the limit is 0.5), so the early steps matter; use a longer window, or adjoint."
        )

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``. The residuals are a ``Window``."""
        steps = check_inputs(init, meta, batches)
        cut = max(0, steps - self.window)
        early, late = jax.tree.map(lambda leaf: leaf[:cut], batches), jax.tree.map(lambda leaf: leaf[cut:], batches)

        def keep(params: Params, state: OptState, grads: Params, new_params: Params) -> Place:
            return Place(params, state, grads)

        carry = (init, problem.optimizer.init(init))
        # Two scans, so that of the early steps nothing is stored.
        carry, (early_losses, _) = jax.lax.scan(inner_step(problem, meta, microbatch=self.microbatch), carry, early)
        late_step = inner_step(problem, meta, keep=keep, microbatch=self.microbatch)
        (params, _), (late_losses, places) = jax.lax.scan(late_step, carry, late)
        losses_K = jnp.concatenate([early_losses, late_losses])
        return InnerRun(params, losses_K, Window(init, losses_K, places))

    def pullback(
        self, problem: InnerProblem, residuals: Window, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """See ``CotangentEstimator.pullback``."""
        init = residuals.init
        steps = check_inputs(init, meta, batches)
        check_steps(residuals.losses_K, steps)
        check_cotangent(cotangent, init)
        cut = max(0, steps - self.window)
        late = jax.tree.map(lambda leaf: jnp.asarray(leaf)[cut:], batches)

        def back(bar: Cotangents, step: tuple[Place, Batch]) -> tuple[Cotangents, None]:
            place, batch = step
            return step_back(problem, place, meta, batch, bar, self.microbatch), None

        bar = start_walk(cotangent, jax.eval_shape(problem.optimizer.init, init), meta)
        bar, _ = jax.lax.scan(back, bar, (residuals.places_W, late), reverse=True)
        if cut:
            length = optax.tree.norm(cotangent)
            share = optax.tree.norm(bar.params) / jnp.maximum(length, jnp.finfo(length.dtype).tiny)
            init_bar = optax.tree.zeros_like(init)
        else:
            share, init_bar = jnp.zeros_like(residuals.losses_K[0]), pull_init(problem, init, bar)
        return MetaGradient(bar.meta, init_bar if self.init_grad else None, {"cut_norm": share})
