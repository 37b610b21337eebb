"""First-order attribution: the inner steps' Jacobians taken as the identity. A control, not an estimator to trust."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mass_jax.metagrad.base import CotangentEstimator, InnerRun
from mass_jax.metagrad.checks import check_cotangent, check_inputs, check_steps
from mass_jax.metagrad.second_order import mixed_term
from mass_jax.metagrad.truncated import last_steps
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, OptState, Params


class Used(NamedTuple):
    """Of a step whose term is used: the parameters before it, and how far it was from −scale · gradient."""

    params: Params
    cosine: Array
    ratio: Array


class FirstOrderResiduals(NamedTuple):
    """The losses of all steps, and what is kept of those whose terms are used, stacked: W is K, or 1."""

    losses_K: Array
    used_W: Used


@dataclasses.dataclass(frozen=True)
class FirstOrder(CotangentEstimator):
    """Approximate: the run is treated as φ_{t+1} = φ_t − scale · ∇_φ ℓ(φ_t, w), and its curvature is dropped.

    The cotangent λ = ∂L_outer/∂φ_K is used unchanged at every step:

        dL/dw ≈ −scale · Σ_t ∂/∂w ⟨λ, ∇_φ ℓ(φ_t, w)⟩,      so dL/dw_{t,i} ≈ −scale · ⟨λ, ∇ℓ_i(φ_t)⟩ for example weights,
        dL/dφ_0 ≈ λ.

    With ``steps="last"`` only the last step's term is kept: what is left of the sum if every earlier step, too, is
    taken as independent of meta (one-step lookahead; Luketina et al. 2016, arXiv 1511.06727).

    The φ_t are those of the true run, whatever its optimiser. Dropped, in order of what they usually cost:
      - the optimiser's Jacobian: momentum carries no cotangent, Adam's rescaling is ignored;
      - its hyper-parameters: a learning rate in ``meta`` gets no gradient, and zero if only the optimiser reads it;
      - the Hessian of every step after the first.
    Exact for K = 1 with SGD, ``scale`` its rate, and nothing of ``meta`` in the optimiser. The sign and the
    direction of the result do not depend on ``scale``; its size does.

    Sources: first-order MAML (Finn et al. 2017, arXiv 1703.03400, sec. 5.2) for the initial point; for the example
    weights it is TracIn (Pruthi et al. 2020, arXiv 2002.08484) with every step a checkpoint and the final gradient.

    A ``problem.gradient`` is pulled back by reverse mode in place of the jvp below.

    Memory: K · φ kept between ``adapt`` and ``pullback``, or φ with ``steps="last"``, plus one jvp of ∂ℓ/∂w (on
    ``microbatch`` examples).

    Diagnostics, means over the steps whose terms are used, both 1 when the update is the SGD step it is treated as, 0
    for a step without gradient. They see the optimiser, not the dropped curvature:
      ``update_cosine``: cosine between the true update and −gradient.
      ``update_ratio``: length of the true update over the length of scale · gradient.

    Attributes:
      steps: whether the terms of all steps are added up, or the last one's is taken alone.
      scale: the rate of the SGD step that stands in for the optimiser's.
      init_grad: whether to return the gradient with respect to ``init`` too; it is the cotangent itself.
      microbatch: as for ``Adjoint``.
    """

    steps: Literal["all", "last"] = "all"
    scale: float = 1.0
    init_grad: bool = False
    microbatch: int | None = None
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Rejects unknown ``steps``."""
        if self.steps not in ("all", "last"):
            raise ValueError(f'steps = {self.steps!r} is unknown; use "all" or "last".')

    def assumption(self, diagnostics: Mapping[str, float]) -> str | None:
        """Broken where the optimiser's steps point away from the gradients they are taken for."""
        cosine = diagnostics["update_cosine"]
        if cosine >= 0.5:
            return None
        return (
            f"first_order takes every update as −scale · gradient, but their mean cosine is {cosine:.2g} (limit 0.5): "
            "the optimiser's Jacobian matters here; use an SGD inner optimiser, or adjoint."
        )

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``. The residuals are ``FirstOrderResiduals``."""
        steps = check_inputs(init, meta, batches)

        def keep(params: Params, state: OptState, grads: Params, new_params: Params) -> Used:
            update = jax.tree.map(jnp.subtract, new_params, params)
            update_norm, grads_norm = jnp.sqrt(optax.tree.vdot(update, update)), jnp.sqrt(optax.tree.vdot(grads, grads))
            tiny = jnp.finfo(grads_norm.dtype).tiny
            cosine = -optax.tree.vdot(update, grads) / jnp.maximum(update_norm * grads_norm, tiny)
            return Used(params, cosine, update_norm / jnp.maximum(self.scale * grads_norm, tiny))

        window = 1 if self.steps == "last" else steps
        params, losses_K, used_W = last_steps(
            problem, init, meta, batches, window, keep=keep, microbatch=self.microbatch
        )
        return InnerRun(params, losses_K, FirstOrderResiduals(losses_K, used_W))

    def pullback(
        self, problem: InnerProblem, residuals: FirstOrderResiduals, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """See ``CotangentEstimator.pullback``."""
        losses_K, used_W = residuals
        place = jax.tree.map(lambda leaf: leaf[0], used_W.params)
        steps = check_inputs(place, meta, batches)
        check_steps(losses_K, steps)
        check_cotangent(cotangent, place)
        along = jax.tree.map(lambda leaf: (-self.scale * leaf).astype(leaf.dtype), cotangent)

        def add(total: Meta, step: tuple[Params, Batch]) -> tuple[Meta, None]:
            params, batch = step
            term = mixed_term(problem, params, meta, batch, along, self.microbatch)
            return jax.tree.map(jnp.add, total, term), None

        late = jax.tree.map(lambda leaf: leaf[-used_W.cosine.shape[0] :], batches)
        total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, meta), (used_W.params, late))
        diagnostics = {"update_cosine": used_W.cosine.mean(), "update_ratio": used_W.ratio.mean()}
        return MetaGradient(total, cotangent if self.init_grad else None, diagnostics)
