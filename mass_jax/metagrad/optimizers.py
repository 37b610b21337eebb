"""Differentiable inner optimisers. Any hyper-parameter may be a function of ``meta``, and is then meta-learned.

    optimizers.sgd(1e-2)                                     a fixed rate
    optimizers.adam(lambda meta: jnp.exp(meta["log_lr"]))    a rate that has a meta-gradient

The forward pass is optax's. What differs is where its derivative is unusable: at a gradient of exactly zero, which is
where a fresh LoRA starts (B = 0 makes ∇A = 0), √v has no derivative, nor has a global norm.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from mass_jax.types import Array, InnerOptimizer, Meta, OptState, Params

Hyperparameter = float | Callable[[Meta], Array]
"""A constant, or a function that reads a scalar from meta."""


def sgd(lr: Hyperparameter, momentum: Hyperparameter = 0.0) -> InnerOptimizer:
    """Gradient descent with heavy-ball momentum: m ← momentum · m + g, φ ← φ − lr · m, as ``optax.sgd``.

    Without momentum (the constant 0) there is no state.
    """
    plain = isinstance(momentum, float | int) and momentum == 0
    return _from_optax(
        lambda: optax.sgd(0.0, None if plain else 0.0),
        lambda meta: optax.sgd(_value(lr, meta), None if plain else _value(momentum, meta)),
    )


def adam(
    lr: Hyperparameter,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Hyperparameter = 1e-8,
    eps_root: Hyperparameter = 1e-6,
) -> InnerOptimizer:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980, alg. 1), as ``optax.adam``: φ ← φ − lr · m̂ / (√(v̂ + eps_root) + eps).

    ``eps_root`` is what makes it differentiable at g = 0: with 0, optax's default, one coordinate whose gradient is
    exactly zero turns the whole meta-gradient into NaN. A tiny value is finite but useless, since the derivative then
    describes a region narrower than any change one would make: on a fresh LoRA, agreement with finite differences at
    a ±12 % change of the weights was 0.04 at 1e-12, 0.85 at 1e-9 and 1.00 at 1e-6. Coordinates whose gradients are
    small against √eps_root (1e-3 by default) take steps proportional to them, as in SGD.
    """
    hyperparameters = (lr, b1, b2, eps, eps_root)
    return _from_optax(lambda: optax.adam(0.0), lambda meta: optax.adam(*(_value(h, meta) for h in hyperparameters)))


def normalized_sgd(lr: Hyperparameter, eps_root: Hyperparameter = 1e-12) -> InnerOptimizer:
    """φ ← φ − lr · g / √(‖g‖² + eps_root), ‖·‖ the global norm: a step of length lr, and none, smoothly, at g = 0."""

    def update(grads: Params, state: OptState, params: Params, meta: Meta) -> tuple[Params, OptState]:
        scale = _value(lr, meta) * jax.lax.rsqrt(optax.tree.norm(grads, squared=True) + _value(eps_root, meta))
        return jax.tree.map(lambda p, g: (p - scale * g).astype(p.dtype), params, grads), state

    return InnerOptimizer(lambda params: (), update)


def clip_by_global_norm(optimizer: InnerOptimizer, max_norm: Hyperparameter) -> InnerOptimizer:
    """Clips the gradient to a global norm of ``max_norm`` before ``optimizer`` sees it.

    Equal to ``optax.clip_by_global_norm`` in a chain, and differentiable where the gradient is exactly zero (all
    example weights zero, say), where optax's derivative is NaN.
    """

    def update(grads: Params, state: OptState, params: Params, meta: Meta) -> tuple[Params, OptState]:
        limit = _value(max_norm, meta)
        squared = optax.tree.norm(grads, squared=True)
        clipped = squared > limit**2
        # The inner where keeps the untaken branch finite: 0 · ∞ would be NaN in its derivative.
        factor = jnp.where(clipped, limit * jax.lax.rsqrt(jnp.where(clipped, squared, 1.0)), 1.0)
        return optimizer.update(jax.tree.map(lambda g: (factor * g).astype(g.dtype), grads), state, params, meta)

    return InnerOptimizer(optimizer.init, update)


def scaled(optimizer: InnerOptimizer, scale: Callable[[Meta, Array], Array]) -> InnerOptimizer:
    """Multiplies every update of ``optimizer`` by a factor that may be learned for each step and each layer.

        scaled(adam(1e-2), lambda meta, step: meta["rates_K"][step])                 per step
        scaled(adam(1e-2), lambda meta, step: {"q": meta["q"], "v": meta["v"]})      per layer
        scaled(adam(1e-2), lambda meta, step: meta["gate"])                          a gate: 0 leaves the parameters

    The factor stands behind the optimiser, so that one without a scale of its own (Adam, normalised SGD) heeds it.

    Args:
      optimizer: what proposes the update.
      scale: ``scale(meta, step)``, with ``step`` an int32 counted from 0: a scalar, or a pytree that is a prefix of the
        parameters and whose leaves broadcast against theirs.
    """

    def init(params: Params) -> OptState:
        return optimizer.init(params), jnp.int32(0)

    def update(grads: Params, state: OptState, params: Params, meta: Meta) -> tuple[Params, OptState]:
        inner, step = state
        proposed, inner = optimizer.update(grads, inner, params, meta)
        factors = jax.tree.broadcast(scale(meta, step), params)
        moved = jax.tree.map(lambda p, new, s: (p + s * (new - p)).astype(p.dtype), params, proposed, factors)
        return moved, (inner, step + 1)

    return InnerOptimizer(init, update)


def from_optax(
    make: Callable[[Meta], optax.GradientTransformation], example_meta: Meta | None = None
) -> InnerOptimizer:
    """Any differentiable optax transformation, with hyper-parameters read from meta where ``make`` does so.

    Args:
      make: ``make(meta)`` builds the transformation; called at every trace, with traced values.
      example_meta: a meta to build one with for ``init`` alone, where no meta is at hand; needed if ``make`` reads it.
        Its values must not matter to the initial state, and for optax's transformations they do not
        (``optax.inject_hyperparams``, which stores them there, is the exception, and is not needed here).

    Raises:
      ValueError: at ``init``, if ``make`` reads meta and no ``example_meta`` was given.
    """

    def make_for_init() -> optax.GradientTransformation:
        try:
            return make(example_meta)
        except (TypeError, AttributeError) as error:
            if example_meta is not None:
                raise
            raise ValueError(
                "make(None) failed, so the optimiser reads its hyper-parameters from meta; pass from_optax an "
                "example_meta to initialise the state with."
            ) from error

    return _from_optax(make_for_init, make)


def _from_optax(
    make_for_init: Callable[[], optax.GradientTransformation], make: Callable[[Meta], optax.GradientTransformation]
) -> InnerOptimizer:
    def init(params: Params) -> OptState:
        return make_for_init().init(params)

    def update(grads: Params, state: OptState, params: Params, meta: Meta) -> tuple[Params, OptState]:
        updates, new_state = make(meta).update(grads, state, params)
        # A wider hyper-parameter must not widen the moments from one step to the next: the scan would reject it.
        new_state = jax.tree.map(lambda new, old: new.astype(old.dtype), new_state, state)
        return optax.apply_updates(params, updates), new_state

    return InnerOptimizer(init, update)


def _value(hyperparameter: Hyperparameter, meta: Meta) -> Array | float:
    return hyperparameter(meta) if callable(hyperparameter) else hyperparameter
