"""The exact reverse walk, stopped early: only the last steps are differentiated."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mass_jax.metagrad.base import CotangentEstimator, InnerRun, inner_step
from mass_jax.metagrad.checks import check_cotangent, check_inputs, check_steps
from mass_jax.metagrad.second_order import Cotangents, pull_init, pull_update, start_walk, step_back, zeros_like
from mass_jax.metagrad.trajectory import Place
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, OptState, Params, PyTree


def last_steps(
    problem: InnerProblem,
    init: Params,
    meta: Meta,
    batches: Batch,
    window: int,
    *,
    keep: Callable[[Params, OptState, Params, Params], PyTree] = lambda params, state, grads, new: Place(
        params, state, grads
    ),
    microbatch: int | None = None,
) -> tuple[Params, Array, PyTree]:
    """The inner run, of which only the last steps are kept.

    Args:
      problem: the inner problem.
      init: φ_0.
      meta: meta-parameters.
      batches: every leaf [K, ...].
      window: how many steps to keep; all of them if K is smaller.
      keep: ``keep(params, state, grads, new_params)``: what to keep of a step; the default keeps its ``Place``.
      microbatch: as for ``inner_loop``.

    Returns:
      φ_K, the losses [K], and what was kept with a leading axis min(window, K).
    """
    cut = max(0, jax.tree.leaves(batches)[0].shape[0] - window)
    carry, early_losses = (init, problem.optimizer.init(init)), []
    if cut:
        # A scan of their own, so that of the early steps nothing is stored.
        early = jax.tree.map(lambda leaf: leaf[:cut], batches)
        carry, (losses, _) = jax.lax.scan(inner_step(problem, meta, microbatch=microbatch), carry, early)
        early_losses.append(losses)
    late = jax.tree.map(lambda leaf: leaf[cut:], batches)
    step = inner_step(problem, meta, keep=keep, microbatch=microbatch)
    (params, _), (losses, kept) = jax.lax.scan(step, carry, late)
    return params, jnp.concatenate([*early_losses, losses]), kept


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
      ``cut_norm``: the length of the cotangents (λ, σ) of the parameters and of the optimiser's state where the walk
        was cut, over their length at the end of the run, (λ_K, 0). Near 0, the early steps are forgotten and nothing
        much was cut; near 1 or above, the next term of the sum is as large as the last one was. 0 where nothing was
        cut. Each is measured by what it passes to a gradient at the window's first step, the one unit that parameters,
        momenta and second moments share: the root of ‖(∂U/∂g)ᵀ (λ, 0)‖² + ‖(∂U/∂g)ᵀ (0, σ)‖². Neither alone will do:
        with momentum the two turn into each other, so that one may be short where the other is long. For SGD it is
        ‖λ‖ / ‖λ_K‖.

    Attributes:
      window: steps that are differentiated.
      init_grad: whether to return the gradient with respect to ``init`` too. The window must then cover the run: cut
        short, the walk does not reach ``init``, and a zero would look like a derivative.
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
        """Broken where the cotangent at the cut is more than half as long as at the end of the run."""
        cut = diagnostics["cut_norm"]
        if cut <= 0.5:
            return None
        return (
            f"truncated: where the walk was cut, after {self.window} steps, the cotangent was {cut:.2g} times as long "
            "as at the end of the run (limit 0.5), so the early steps matter; use a longer window, or adjoint."
        )

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``. The residuals are a ``Window``.

        Raises:
          ValueError: ``init_grad`` with a window shorter than the run.
        """
        self._cut(check_inputs(init, meta, batches))
        params, losses_K, places = last_steps(problem, init, meta, batches, self.window, microbatch=self.microbatch)
        return InnerRun(params, losses_K, Window(init, losses_K, places))

    def pullback(
        self, problem: InnerProblem, residuals: Window, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """See ``CotangentEstimator.pullback``."""
        init = residuals.init
        steps = check_inputs(init, meta, batches)
        check_steps(residuals.losses_K, steps)
        check_cotangent(cotangent, init)
        cut = self._cut(steps)
        late = jax.tree.map(lambda leaf: jnp.asarray(leaf)[cut:], batches)

        def back(bar: Cotangents, step: tuple[Place, Batch]) -> tuple[Cotangents, None]:
            place, batch = step
            return step_back(problem, place, meta, batch, bar, self.microbatch), None

        def length(bar: Cotangents) -> Array:
            params, state, grads = jax.tree.map(lambda leaf: leaf[0], residuals.places_W)
            # Each part of the cotangent on its own, the other zero, through the first kept step.
            alone = ((bar.params, zeros_like(bar.state)), (zeros_like(bar.params), bar.state))
            return optax.tree.norm([pull_update(problem, grads, state, params, meta, part)[0] for part in alone])

        end = start_walk(cotangent, jax.eval_shape(problem.optimizer.init, init), meta)
        bar, _ = jax.lax.scan(back, end, (residuals.places_W, late), reverse=True)
        share = jnp.zeros_like(residuals.losses_K[0])
        if cut:
            share = length(bar) / jnp.maximum(length(end), jnp.finfo(share.dtype).tiny)
        init_bar = pull_init(problem, init, bar) if self.init_grad else None
        return MetaGradient(bar.meta, init_bar, {"cut_norm": share})

    def _cut(self, steps: int) -> int:
        """How many early steps are not differentiated."""
        cut = max(0, steps - self.window)
        if cut and self.init_grad:
            raise ValueError(
                f"init_grad = True with window = {self.window} of K = {steps} steps: the walk is cut before it reaches "
                f"the initial point, so that its gradient would be zero whatever the problem; use window = {steps} or "
                "more, init_grad=False, or adjoint."
            )
        return cut
