"""Approximate solutions of A x = b for an A that is known by its products alone: conjugate gradient, Neumann, Nystrom.

Each takes a number of products that is fixed before it runs, so that its cost is known and it maps over problems.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from mass_jax.types import Array, Params

Product = Callable[[Params], Params]
"""``product(v) -> A v``, the structure, shapes and dtypes of v."""


def conjugate_gradient(product: Product, b: Params, iterations: int) -> Params:
    """Approximates A⁻¹ b for a symmetric positive definite A, from x = 0 (Hestenes & Stiefel 1952, eq. 3:1).

    Exact, up to rounding, after as many iterations as A has distinct eigenvalues. It stops for good at a direction of
    curvature that is not positive, where the next step would be meaningless (Steihaug 1983), and at a residual of zero.

    Args:
      product: v -> A v.
      b: the right-hand side.
      iterations: products with A.
    """

    def iterate(_: int, carry: tuple[Params, Params, Params, Array]) -> tuple[Params, Params, Params, Array]:
        x, residual, direction, squared = carry
        image = product(direction)
        curvature = optax.tree.vdot(direction, image)
        going = (curvature > 0) & (squared > 0)
        length = jnp.where(going, squared / jnp.where(going, curvature, 1), 0)
        x = optax.tree.add_scale(x, length, direction)
        residual = optax.tree.add_scale(residual, -length, image)
        new_squared = optax.tree.vdot(residual, residual)
        turned = optax.tree.add_scale(residual, new_squared / jnp.where(going, squared, 1), direction)
        direction = jax.tree.map(lambda new, old: jnp.where(going, new, old), turned, direction)
        return x, residual, direction, new_squared

    start = (jax.tree.map(jnp.zeros_like, b), b, b, optax.tree.vdot(b, b))
    return jax.lax.fori_loop(0, iterations, iterate, start)[0]


def neumann(product: Product, b: Params, iterations: int, alpha: float) -> Params:
    """Returns x = α Σ_{j=0}^{iterations} (I − α A)^j b, which tends to A⁻¹ b if α A has its eigenvalues in (0, 2).

    Computed as the iteration x ← x + α (b − A x) from x = α b, whose iterates are the partial sums. A need not be
    symmetric (Lorraine et al. 2020, arXiv 1911.02590, alg. 3).

    Args:
      product: v -> A v.
      b: the right-hand side.
      iterations: products with A.
      alpha: α; below 2 over the largest eigenvalue, or the series diverges.
    """

    def iterate(_: int, x: Params) -> Params:
        return optax.tree.add_scale(x, alpha, jax.tree.map(jnp.subtract, b, product(x)))

    return jax.lax.fori_loop(0, iterations, iterate, optax.tree.scale(alpha, b))


def nystrom(product: Product, b: Params, rank: int, shift: float, key: Array) -> Params:
    """Returns x = (H̃ + shift I)⁻¹ b, with H̃ = C W⁺ Cᵀ made of some columns of a symmetric H.

    C holds ``rank`` columns of H, drawn without replacement, W the rows of C at the same places. By Woodbury,
    x = (b − C (shift · W + CᵀC)⁺ Cᵀ b) / shift: no iteration, hence nothing to diverge. Exact if the columns drawn
    span those of H (Hataya & Yamada 2023, arXiv 2302.09726).

    Args:
      product: v -> H v, without the shift.
      b: the right-hand side.
      rank: columns, one product each; all of them are alive at once.
      shift: added to the diagonal; positive.
      key: of the draw.

    Raises:
      ValueError: more columns than H has.
    """
    flat, unravel = ravel_pytree(b)
    if rank > flat.size:
        raise ValueError(f"Nystrom with {rank} columns of a Hessian that has {flat.size}: use at most {flat.size}.")
    places = jax.random.choice(key, flat.size, (rank,), replace=False)

    def column(place: Array) -> Array:
        return ravel_pytree(product(unravel(jnp.zeros_like(flat).at[place].set(1))))[0]

    # ``columns`` is Cᵀ, [rank, n]: row i is column places[i] of H. So W = columns[:, places] and CᵀC = columns @
    # columns.T.
    columns = jax.lax.map(column, places)
    core = shift * columns[:, places] + columns @ columns.T
    # A pseudo-inverse: parameters that the loss does not read give columns of zeros.
    weights = jnp.linalg.pinv(core, hermitian=True) @ (columns @ flat)
    return unravel((flat - weights @ columns) / shift)
