"""Second-order products by differences of gradients: no second derivative of the inner loss is ever taken."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mass_jax.metagrad.base import CotangentEstimator, InnerRun
from mass_jax.metagrad.checks import check_cotangent, check_inputs, check_steps
from mass_jax.metagrad.microbatch import sum_over_examples
from mass_jax.metagrad.second_order import Cotangents, loss_and_grad, pull_init, pull_update, start_walk
from mass_jax.metagrad.trajectory import Place, Trajectory, place_finder, run
from mass_jax.metagrad.truncated import Window, last_steps
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, Params, PyTree

KINDS = ("walk", "darts", "sama")


class LastStep(NamedTuple):
    """What "darts" and "sama" keep: the last step, and where it led to."""

    window: Window
    params: Params


class Products(NamedTuple):
    """∂²ℓ/∂φ∂φ · v and ∂²ℓ/∂w∂φ · v, and the diagnostics of the difference that they were made of."""

    params: Params
    meta: Meta
    curvature: Array
    rounding: Array


@dataclasses.dataclass(frozen=True)
class FiniteDifference(CotangentEstimator):
    """Approximate: every product of a second derivative with a vector is a central difference of gradients.

    For a vector v,

        (∂²ℓ/∂φ∂φ v, ∂²ℓ/∂w∂φ v) ≈ (∇_{φ,w} ℓ(φ + h v, w) − ∇_{φ,w} ℓ(φ − h v, w)) / 2h,     h = epsilon / ‖v‖,

    so that an inner loss with a fused kernel, which has one derivative and no more, is no obstacle. With λ the
    cotangent ∂L_outer/∂φ_K, the kinds differ in which products they ask for:

        kind="walk"    the reverse walk of ``Adjoint`` over all steps, each product replaced. With K = 1 and SGD it is
                       DARTS as published.
        kind="darts"   the last step only, taken as SGD of rate ``scale``: dL/dw ≈ −scale · ∂²ℓ/∂w∂φ(φ_{K−1}) λ
        kind="sama"    the last step only, at φ_K, Hessian dropped but the optimiser kept: v = (∂U/∂g)ᵀ λ,
                       dL/dw ≈ ∂²ℓ/∂w∂φ(φ_K) v

    Sources: DARTS (Liu et al. 2019, arXiv 1806.09055, eq. 7 and 8); SAMA (Choe et al. 2023, arXiv 2310.05674),
    which takes the Jacobian of the inner solution as the identity and adapts λ to the optimiser. Ours differs from its
    reference implementation (betty, hypergradient/sama.py and utils.py) where the latter
      - writes ∂U/∂g out for Adam alone and without the bias corrections: ours is the derivative of the step that was
        taken, by whatever optimiser;
      - leaves the rate out for SGD, which changes the result's length and not its direction;
      - leaves the inner parameters displaced by −h v afterwards: ours are the caller's, who may do so.

    Assumes that ∇ℓ is smooth over a distance of ``epsilon`` in φ. Bias: O(epsilon²) of the third derivative a product,
    and rounding of the order of ‖∇ℓ‖ / epsilon times the precision: in float32 no epsilon makes both small. "darts"
    and "sama" also drop every step but the last. A learning rate that only the optimiser reads gets its gradient from
    "walk" alone.

    Memory: one gradient alive (on ``microbatch`` examples), and kept between ``adapt`` and ``pullback``, with s the
    optimiser's state: K · φ for "walk"; 4φ + s, whatever K is, for "darts" and "sama".

    Diagnostics, means over the products:
      ``curvature``: ‖g₊ + g₋ − 2 g₀‖ / ‖g₊ − g₋‖: how far the gradient is from linear over the difference; the
        product's relative error is of the order of its square. Large: epsilon is too wide.
      ``rounding``: the precision times ‖g₀‖ / ‖g₊ − g₋‖: the share of the difference that is rounding. Large: epsilon
        is too narrow.

    Attributes:
      kind: see above.
      epsilon: the distance by which φ is moved, in the norm of all parameters.
      scale: the rate of the SGD step of "darts". Others do not read it.
      init_grad: whether to return the gradient with respect to ``init`` too; "walk" only.
      microbatch: as for ``Adjoint``.
    """

    kind: Literal["walk", "darts", "sama"] = "walk"
    epsilon: float = 0.01
    scale: float = 1.0
    init_grad: bool = False
    microbatch: int | None = None
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Rejects an unknown ``kind`` and options out of range."""
        if self.kind not in KINDS:
            raise ValueError(f"kind = {self.kind!r} is unknown; use one of {', '.join(KINDS)}.")
        if not self.epsilon > 0:
            raise ValueError(f"epsilon = {self.epsilon}: the distance of a difference is positive.")
        if self.init_grad and self.kind != "walk":
            raise ValueError(
                f"init_grad = True with kind = {self.kind!r}, which looks at the last step only and knows nothing of "
                'the initial point; use kind="walk".'
            )

    def assumption(self, diagnostics: Mapping[str, float]) -> str | None:
        """Broken where the difference is more than a third curvature, or more than a hundredth rounding."""
        curvature, rounding = diagnostics["curvature"], diagnostics["rounding"]
        # Asked this way round, so that NaN is broken too. Of what is rounding, the curvature is rounding as well.
        if not rounding <= 0.01:
            return (
                f"finite_difference: {rounding:.1%} of a difference over epsilon = {self.epsilon} is rounding (limit "
                "1 %); raise epsilon, use float64, or use adjoint."
            )
        if not curvature <= 1 / 3:
            return (
                f"finite_difference: over epsilon = {self.epsilon} the inner gradient is far from linear (curvature = "
                f"{curvature:.2g}, limit 0.33); lower epsilon, or use adjoint."
            )
        return None

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``. The residuals are a ``Trajectory``, or the ``LastStep``.

        Raises:
          ValueError: a ``problem.gradient``, whose Jacobian need not be symmetric: differences give J v, not Jᵀ v.
        """
        check_inputs(init, meta, batches)
        if problem.gradient is not None:
            raise ValueError(
                "finite_difference needs a symmetric Jacobian of the inner gradient, but that of InnerProblem.gradient "
                "may be another; use adjoint, or leave InnerProblem.gradient out."
            )
        if self.kind == "walk":
            params, trajectory = run(problem, init, meta, batches, "gradients", 2, self.microbatch)
            return InnerRun(params, trajectory.losses_K, trajectory)
        params, losses_K, places = last_steps(problem, init, meta, batches, 1, microbatch=self.microbatch)
        return InnerRun(params, losses_K, LastStep(Window(init, losses_K, places), params))

    def pullback(
        self, problem: InnerProblem, residuals: Trajectory | LastStep, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """See ``CotangentEstimator.pullback``."""
        kept = residuals.window if isinstance(residuals, LastStep) else residuals
        steps = check_inputs(kept.init, meta, batches)
        check_steps(kept.losses_K, steps)
        check_cotangent(cotangent, kept.init)
        batches = jax.tree.map(jnp.asarray, batches)
        end = start_walk(cotangent, jax.eval_shape(problem.optimizer.init, kept.init), meta)
        if isinstance(residuals, LastStep):
            return self._at_last_step(problem, residuals, meta, _at(batches, steps - 1), end)
        return self._walk(problem, residuals, meta, batches, end)

    def _walk(
        self, problem: InnerProblem, trajectory: Trajectory, meta: Meta, batches: Batch, end: Cotangents
    ) -> MetaGradient:
        _, find = place_finder(problem, trajectory, meta, batches, "gradients", 2, self.microbatch)

        def back(bar: Cotangents, t: Array) -> tuple[Cotangents, tuple[Array, Array]]:
            _, place = find((), t)
            grads_bar, state_bar, params_bar, meta_bar = _pull(problem, place, meta, bar)
            found = self._products(problem, place.params, place.grads, meta, _at(batches, t), grads_bar)
            meta_bar = jax.tree.map(lambda a, b, c: a + b + c, bar.meta, meta_bar, found.meta)
            params_bar = jax.tree.map(jnp.add, params_bar, found.params)
            return Cotangents(params_bar, state_bar, meta_bar), (found.curvature, found.rounding)

        steps_K = jnp.arange(trajectory.losses_K.shape[0])
        bar, (curvature, rounding) = jax.lax.scan(back, end, steps_K, reverse=True)
        init_bar = pull_init(problem, trajectory.init, bar) if self.init_grad else None
        return MetaGradient(bar.meta, init_bar, {"curvature": curvature.mean(), "rounding": rounding.mean()})

    def _at_last_step(
        self, problem: InnerProblem, last: LastStep, meta: Meta, batch: Batch, end: Cotangents
    ) -> MetaGradient:
        place = _at(last.window.places_W, 0)
        if self.kind == "darts":
            at, grads = place.params, place.grads
            along = jax.tree.map(lambda leaf: (-self.scale * leaf).astype(leaf.dtype), end.params)
        else:
            at, grads = last.params, loss_and_grad(problem, last.params, meta, batch, self.microbatch)[1]
            along = _pull(problem, place, meta, end)[0]
        found = self._products(problem, at, grads, meta, batch, along)
        return MetaGradient(found.meta, None, {"curvature": found.curvature, "rounding": found.rounding})

    def _products(
        self, problem: InnerProblem, params: Params, grads: Params, meta: Meta, batch: Batch, along: Params
    ) -> Products:
        length = optax.tree.norm(along)
        tiny = jnp.finfo(length.dtype).tiny
        # A zero vector has zero products, whatever the distance.
        h = self.epsilon / jnp.where(length > 0, length, 1.0)

        def gradients(sign: float) -> tuple[Params, Meta]:
            moved = jax.tree.map(lambda p, v: (p + sign * h * v).astype(p.dtype), params, along)
            gradient = jax.grad(problem.loss, argnums=(0, 1))
            return sum_over_examples(gradient, (moved, meta), batch, self.microbatch, problem.axis)

        plus, minus = gradients(1.0), gradients(-1.0)
        difference = jax.tree.map(jnp.subtract, plus, minus)
        products = jax.tree.map(lambda leaf: (leaf / (2 * h)).astype(leaf.dtype), difference)
        width = jnp.maximum(optax.tree.norm(difference[0]), tiny)
        bend = jax.tree.map(lambda a, b, c: a + b - 2 * c, plus[0], minus[0], grads)
        rounding = jnp.finfo(length.dtype).eps * optax.tree.norm(grads) / width
        return Products(products[0], products[1], optax.tree.norm(bend) / width, rounding)


def _pull(problem: InnerProblem, place: Place, meta: Meta, bar: Cotangents) -> tuple[Params, list[Array], Params, Meta]:
    return pull_update(problem, place.grads, place.state, place.params, meta, (bar.params, bar.state))


def _at(stacked: PyTree, t: Array | int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[t], stacked)
