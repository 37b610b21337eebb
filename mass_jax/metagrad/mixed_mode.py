"""Reverse mode over the inner steps, forward over reverse inside each: automatic, and as small as the adjoint walk."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core

from mass_jax.metagrad.base import InnerRun, ReverseEstimator, inner_loop
from mass_jax.metagrad.blocks import remat_if
from mass_jax.metagrad.checks import check_inputs
from mass_jax.metagrad.second_order import loss_and_grad, mixed_term, second_order, zeros_like
from mass_jax.types import Array, Batch, InnerProblem, Meta, OptState, Params, PyTree

INNER_GRAD = "inner_grad"


@dataclasses.dataclass(frozen=True)
class MixedMode(ReverseEstimator):
    """Exact: ``jax.vjp`` of the K-step scan, with a rule of its own for the inner gradient.

    Everything is left to automatic differentiation but one function, G(φ, w) = ∇_φ ℓ(φ, w). Reverse mode through it
    would keep the activations of a backward pass. But its Jacobians are blocks of a symmetric Hessian, so the
    product from the left that reverse mode asks for,

        ḡᵀ ∂G/∂φ = ∂/∂ε ∇_φ ℓ(φ + ε ḡ, w),     ḡᵀ ∂G/∂w = ∂/∂ε ∇_w ℓ(φ + ε ḡ, w),

    is a forward-mode derivative of a gradient, and it needs only (φ, w, batch) kept. A ``jax.custom_vjp`` says so;
    each step is rematerialised except for its inner gradient, which is saved by name, so that going back repeats the
    optimiser's arithmetic and no model.

    Source: MixFlow-MG (Kemaev et al. 2025, arXiv 2505.00793, sec. 3 and the saved inner gradients of sec. 4). It
    computes what ``Adjoint`` computes, with less code to trust and no control over where the trajectory is kept.

    Memory: K · (2φ + s), as ``Adjoint``, plus one Hessian-vector product alive (on ``hvp_microbatch`` examples).

    Attributes:
      init_grad: whether to return the gradient with respect to ``init`` too, for one more Hessian-vector product.
      microbatch: as for ``Adjoint``.
      hvp_microbatch: as for ``Adjoint``.
      hvp_remat: as for ``Adjoint``.
      grad_remat: as for ``Adjoint``.
    """

    init_grad: bool = False
    microbatch: int | None = None
    hvp_microbatch: int | None = None
    hvp_remat: bool = True
    grad_remat: bool = True
    exact: ClassVar[bool] = True

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``. The residuals are ``init``."""
        check_inputs(init, meta, batches)
        once = remat_if(self.grad_remat, problem)
        params, losses_K, _ = inner_loop(once, init, meta, batches, microbatch=self.microbatch)
        return InnerRun(params, losses_K, init)

    def _run(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> Params:
        def step(
            carry: tuple[Params, OptState], meta: Meta, batch: Batch, first: bool = False
        ) -> tuple[Params, OptState]:
            params, state = carry
            grads = self._inner_gradient(problem, hessian=self.init_grad or not first)(params, meta, batch)
            return problem.optimizer.update(checkpoint_name(grads, INNER_GRAD), state, params, meta)

        policy = jax.checkpoint_policies.save_only_these_names(INNER_GRAD)
        rematerialised = jax.checkpoint(step, prevent_cse=False, policy=policy)

        # The first step is outside the scan: the cotangent of its parameters may be nobody's business.
        batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], batches)
        carry = step((init, problem.optimizer.init(init)), meta, batch, True)
        rest = jax.tree.map(lambda leaf: leaf[1:], batches)
        return jax.lax.scan(lambda c, b: (rematerialised(c, meta, b), None), carry, rest)[0][0]

    def _inner_gradient(self, problem: InnerProblem, hessian: bool) -> Callable[[Params, Meta, Batch], Params]:
        """G(φ, w) with a reverse rule that is forward over reverse."""
        size = self.hvp_microbatch or self.microbatch
        once = remat_if(self.grad_remat, problem)
        twice = remat_if(self.hvp_remat, problem)

        def gradient(params: Params, meta: Meta, batch: Batch) -> Params:
            return loss_and_grad(once, params, meta, batch, self.microbatch)[1]

        def products(params: Params, meta: Meta, batch: Batch, grads_bar: Params) -> tuple[Params, Meta]:
            if hessian:
                return second_order(twice, params, meta, batch, grads_bar, size)
            return zeros_like(params), mixed_term(twice, params, meta, batch, grads_bar, size)

        def inner_gradient(params: Params, meta: Meta, batch: Batch) -> Params:
            pure_gradient, consts = _hoist(gradient, params, meta, batch)
            pure_products, product_consts = _hoist(products, params, meta, batch, params)

            @jax.custom_vjp
            def call(params: Params, meta: Meta, batch: Batch, consts: list, product_consts: list) -> Params:
                return pure_gradient(consts, params, meta, batch)

            def forward(*arguments: PyTree) -> tuple[Params, PyTree]:
                params, meta, batch, consts, product_consts = arguments
                return pure_gradient(consts, params, meta, batch), (params, meta, batch, product_consts)

            def backward(residuals: PyTree, grads_bar: Params) -> tuple[Params, Meta, None, None, None]:
                params, meta, batch, product_consts = residuals
                return *pure_products(product_consts, params, meta, batch, grads_bar), None, None, None

            call.defvjp(forward, backward)
            return call(params, meta, batch, consts, product_consts)

        return inner_gradient


def _hoist(fn: Callable[..., PyTree], *examples: PyTree) -> tuple[Callable[..., PyTree], list[Array]]:
    """``fn`` as ``pure(consts, *args)``, and the traced arrays it closed over: a custom_vjp may not close over them."""
    closed, shape = jax.make_jaxpr(fn, return_shape=True)(*examples)

    def pure(consts: list[Array], *args: PyTree) -> PyTree:
        out = core.jaxpr_as_fun(core.ClosedJaxpr(closed.jaxpr, consts))(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return pure, list(closed.consts)
