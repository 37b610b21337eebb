"""Per-example gradient normalisation: every practice example pulls with the same force, times its weight."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from mass_jax.types import Array, Batch, Meta, Params


def normalized_examples(
    example_losses: Callable[[Params, Meta, Batch], Array],
    weights: Callable[[Meta, Batch], Array],
    eps_root: float = 1e-8,
) -> Callable[[Params, Meta, Batch], tuple[Array, Params]]:
    """A ``gradient`` for ``InnerProblem``: g = Σ_i w_i ∇ℓ_i / √(‖∇ℓ_i‖² + eps_root).

    Meta-gradients over-value examples with a large loss, since their gradients are long; normalised, an example's
    weight alone says how much it counts. The result is not the gradient of any function, and its Jacobian is not
    symmetric; estimators transpose it by reverse mode, and stay exact.

    Memory: one gradient an example, N · φ, and its derivatives; use ``microbatch``.

    Args:
      example_losses: ``(params, meta, batch) -> [N]``, each a function of its own example only.
      weights: ``(meta, batch) -> [N]``.
      eps_root: keeps it differentiable where an example's gradient is exactly zero.
    """

    def gradient(params: Params, meta: Meta, batch: Batch) -> tuple[Array, Params]:
        weights_N = weights(meta, batch)

        leaves, treedef = jax.tree.flatten(batch)

        def one(example: list[Array], weight: Array) -> tuple[Array, Params]:
            remaining = iter(example)
            # A scalar (a step index, say) belongs to every example.
            alone = jax.tree.unflatten(treedef, [next(remaining)[None] if jnp.ndim(leaf) else leaf for leaf in leaves])
            loss, grads = jax.value_and_grad(lambda p: example_losses(p, meta, alone)[0])(params)
            scale = weight * jax.lax.rsqrt(optax.tree.norm(grads, squared=True) + eps_root)
            return weight * loss, jax.tree.map(lambda g: (scale * g).astype(g.dtype), grads)

        losses_N, grads_N = jax.vmap(one)([leaf for leaf in leaves if jnp.ndim(leaf)], weights_N)
        return jnp.sum(losses_N), jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), grads_N)

    return gradient
