"""The primitives every estimator is made of: one inner gradient, one step back, and the two second-order products."""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from mass_jax.metagrad.microbatch import sum_over_examples
from mass_jax.types import Array, Batch, InnerProblem, Meta, OptState, Params, PyTree

Out = TypeVar("Out", bound=PyTree)


class Cotangents(NamedTuple):
    """What the reverse walk carries: ∂L_outer of the parameters, of the state's floating leaves, and of meta so far."""

    params: Params
    state: list[Array]
    meta: Meta


def loss_and_grad(
    problem: InnerProblem, params: Params, meta: Meta, batch: Batch, microbatch: int | None
) -> tuple[Array, Params]:
    """The inner loss, and its gradient with respect to the parameters (or what ``problem.gradient`` puts for it)."""
    fn = problem.gradient or jax.value_and_grad(problem.loss)
    return sum_over_examples(fn, (params, meta), batch, microbatch, problem.axis)


def second_order(
    problem: InnerProblem, params: Params, meta: Meta, batch: Batch, along: Params, microbatch: int | None
) -> tuple[Params, Meta]:
    """(∂²ℓ/∂φ∂φ · along, ∂²ℓ/∂w∂φ · along), forward over reverse: the tangent of ∇ℓ along (along, 0).

    The Hessian is symmetric, so a product from the left is a product from the right, and one jvp of
    ``jax.grad(loss, argnums=(0, 1))`` gives both terms without keeping a second backward pass's activations
    (MixFlow-MG, Kemaev et al. 2025, arXiv 2505.00793, eq. 6). A ``problem.gradient`` need not be the gradient of
    anything, so its Jacobian is transposed by reverse mode.
    """

    @_differentiable
    def product(params: Params, meta: Meta, along: Params, part: Batch) -> tuple[Params, Meta]:
        return _second_order(problem, params, meta, part, along)

    return sum_over_examples(product, (params, meta, along), batch, microbatch, problem.axis)


def mixed_term(
    problem: InnerProblem, params: Params, meta: Meta, batch: Batch, along: Params, microbatch: int | None
) -> Meta:
    """∂²ℓ/∂w∂φ · along alone: a forward-mode derivative of ∂ℓ/∂w, without a Hessian-vector product."""

    @_differentiable
    def product(params: Params, meta: Meta, along: Params, part: Batch) -> Meta:
        if problem.gradient is not None:
            return _pull_gradient(problem, params, meta, part, along)[1]
        return jax.jvp(lambda p: jax.grad(problem.loss, argnums=1)(p, meta, part), (params,), (along,))[1]

    return sum_over_examples(product, (params, meta, along), batch, microbatch, problem.axis)


def step_back(
    problem: InnerProblem,
    place: tuple[Params, OptState, Params],
    meta: Meta,
    batch: Batch,
    bar: Cotangents,
    microbatch: int | None,
    hessian: bool = True,
) -> Cotangents:
    """The cotangents before one inner step, from those after it.

    Args:
      problem: the inner problem.
      place: (φ_t, s_t, g_t): where the step stood, and the gradient it took there.
      meta: meta-parameters.
      batch: the step's batch.
      bar: cotangents of (φ_{t+1}, s_{t+1}), and of meta from the later steps.
      microbatch: as for ``sum_over_microbatches``.
      hessian: False leaves out the Hessian-vector product: right where nobody reads the cotangent of φ_t.
    """
    params, state, grads = place
    grads_bar, state_bar, params_bar, meta_bar = pull_update(
        problem, grads, state, params, meta, (bar.params, bar.state)
    )
    if hessian:
        along_params, along_meta = second_order(problem, params, meta, batch, grads_bar, microbatch)
        params_bar = jax.tree.map(jnp.add, params_bar, along_params)
    else:
        along_meta = mixed_term(problem, params, meta, batch, grads_bar, microbatch)
    return Cotangents(params_bar, state_bar, jax.tree.map(lambda a, b, c: a + b + c, bar.meta, meta_bar, along_meta))


def pull_update(
    problem: InnerProblem, grads: Params, state: OptState, params: Params, meta: Meta, bar: tuple[Params, list[Array]]
) -> tuple[Params, list[Array], Params, Meta]:
    """Cotangents of the gradient, the state's floating leaves, the parameters and meta through one optimiser step."""
    state_floats, join = split_floating(state)

    def update(grads: Params, state_floats: list[Array], params: Params, meta: Meta) -> tuple[Params, list[Array]]:
        new_params, new_state = problem.optimizer.update(grads, join(state_floats), params, meta)
        return new_params, split_floating(new_state)[0]

    return jax.vjp(update, grads, state_floats, params, meta)[1](bar)


def start_walk(cotangent: Params, state: OptState, meta: Meta) -> Cotangents:
    """The cotangents after the last step: nobody reads the last optimiser state."""
    return Cotangents(
        cotangent, [jnp.zeros(leaf.shape, leaf.dtype) for leaf in split_floating(state)[0]], zeros_like(meta)
    )


def pull_init(problem: InnerProblem, init: Params, bar: Cotangents) -> Params:
    """The cotangent of φ_0: that of the parameters, and what reaches it through ``optimizer.init``."""
    _, pull = jax.vjp(lambda params: split_floating(problem.optimizer.init(params))[0], init)
    return jax.tree.map(jnp.add, bar.params, pull(bar.state)[0])


def split_floating(tree: PyTree) -> tuple[list[Array], Callable[[list[Array]], PyTree]]:
    """The floating leaves, and a function that puts others in their place: step counts and keys have no cotangent."""
    leaves, treedef = jax.tree.flatten(tree)
    floating = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

    def join(floats: list[Array]) -> PyTree:
        remaining = iter(floats)
        merged = [next(remaining) if is_float else leaf for leaf, is_float in zip(leaves, floating, strict=True)]
        return jax.tree.unflatten(treedef, merged)

    return [leaf for leaf, is_float in zip(leaves, floating, strict=True) if is_float], join


def zeros_like(tree: PyTree) -> PyTree:
    """Zeros of the same shapes and dtypes."""
    return jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), jnp.result_type(leaf)), tree)


def _second_order(
    problem: InnerProblem, params: Params, meta: Meta, batch: Batch, along: Params
) -> tuple[Params, Meta]:
    if problem.gradient is not None:
        return _pull_gradient(problem, params, meta, batch, along)
    return jax.jvp(lambda p: jax.grad(problem.loss, argnums=(0, 1))(p, meta, batch), (params,), (along,))[1]


def _pull_gradient(
    problem: InnerProblem, params: Params, meta: Meta, batch: Batch, along: Params
) -> tuple[Params, Meta]:
    assert problem.gradient is not None
    gradient = problem.gradient
    return jax.vjp(lambda p, m: gradient(p, m, batch)[1], params, meta)[1](along)


def _differentiable(product: Callable[..., Out]) -> Callable[..., Out]:
    """``product``; where an operation has no second derivative, its error says which, and the way out."""

    @functools.wraps(product)
    def checked(*arguments: PyTree) -> Out:
        try:
            return product(*arguments)
        except (NotImplementedError, TypeError, ValueError) as error:
            text = str(error)
            if not any(sign in text for sign in ("ifferentiat", "JVP", "jvp", "ranspose")):
                raise
            raise TypeError(
                f"the inner loss has an operation without a second derivative ({text.splitlines()[0].rstrip('.')}): in "
                "the inner loss, replace the fused kernel or callback by plain jax.numpy operations (it may stay in "
                "sampling and in the outer loss), or choose an estimator that takes no second derivative: "
                "finite_difference or evolution."
            ) from error

    return checked
