"""Forward mode: carry the derivative along with the run. For a handful of scalars."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from mass_jax.metagrad.base import CotangentEstimator, InnerRun, inner_loop
from mass_jax.metagrad.checks import check_cotangent, check_inputs
from mass_jax.types import Batch, InnerProblem, Meta, MetaGradient, Params, PyTree


@dataclasses.dataclass(frozen=True)
class Forward(CotangentEstimator):
    """Exact: ∂φ_K/∂w is carried forward with the run, one tangent for each scalar of w.

    Z_t = ∂φ_t/∂w obeys Z_{t+1} = (∂U/∂φ) Z_t + ∂U/∂w, which is what ``jax.jvp`` of the run computes; the
    meta-gradient is then Zᵀ λ. The run is not stored and K costs no memory, so that horizons of any length are open;
    each scalar costs one more inner run with its Hessian-vector products. Right for learning rates, momenta and
    regularisers; wrong for the weights of many examples.

    Source: forward-mode hypergradients (Franceschi et al. 2017, arXiv 1703.01785, sec. 3.2).

    Memory: S · (φ + s) for S scalars, plus S + 1 forward-over-reverse gradients (on ``microbatch`` examples);
    independent of K.

    Attributes:
      max_scalars: the most scalars of ``meta`` (and ``init``, with ``init_grad``) that are accepted.
      init_grad: whether to return the gradient with respect to ``init`` too: one tangent for each parameter.
      microbatch: as for ``Adjoint``.
    """

    max_scalars: int = 64
    init_grad: bool = False
    microbatch: int | None = None
    exact: ClassVar[bool] = True

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``. The residuals are ∂φ_K/∂(meta, init), every leaf [S, ...], and ``init``.

        Raises:
          ValueError: more than ``max_scalars`` scalars.
        """
        check_inputs(init, meta, batches)
        moved: PyTree = (meta, init) if self.init_grad else (meta,)
        scalars = sum(jnp.size(leaf) for leaf in jax.tree.leaves(moved))
        if scalars > self.max_scalars:
            raise ValueError(
                f"forward mode would carry {scalars} tangents, one a scalar of meta{' and init' * self.init_grad}; the "
                f"limit is max_scalars = {self.max_scalars}: raise it, or use adjoint, whose cost does not grow."
            )

        def run(moved: PyTree) -> tuple[Params, jax.Array]:
            return inner_loop(
                problem, moved[1] if self.init_grad else init, moved[0], batches, microbatch=self.microbatch
            )[:2]

        params, losses_K = run(moved)
        (tangents, _) = jax.vmap(lambda along: jax.jvp(run, (moved,), (along,))[1])(_basis(moved))
        return InnerRun(params, losses_K, (tangents, init))

    def pullback(
        self, problem: InnerProblem, residuals: PyTree, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """See ``CotangentEstimator.pullback``: one inner product a scalar."""
        tangents, init = residuals
        check_inputs(init, meta, batches)
        check_cotangent(cotangent, init)
        moved: PyTree = (meta, init) if self.init_grad else (meta,)
        # Leaves [S, ...] times [...]: one number for each of the S tangents, summed over the leaves.
        products = [
            jnp.tensordot(tangent.reshape(len(tangent), -1), bar.reshape(-1), 1)
            for tangent, bar in zip(jax.tree.leaves(tangents), jax.tree.leaves(cotangent), strict=True)
        ]
        gradient = _from_flat(jnp.sum(jnp.stack(products), axis=0), moved)
        return MetaGradient(gradient[0], gradient[1] if self.init_grad else None, {})


def _basis(tree: PyTree) -> PyTree:
    """The unit vectors of ``tree`` as one pytree whose leaves have a leading axis S."""
    total = sum(jnp.size(leaf) for leaf in jax.tree.leaves(tree))
    # Row s of the identity is the unit vector of scalar s, cut into the shapes of the leaves.
    return jax.vmap(lambda row: _from_flat(row, tree))(jnp.eye(total, dtype=bool))


def _from_flat(flat: jax.Array, like: PyTree) -> PyTree:
    leaves, treedef = jax.tree.flatten(like)
    pieces, start = [], 0
    for leaf in leaves:
        piece = flat[start : start + jnp.size(leaf)]
        pieces.append(piece.reshape(jnp.shape(leaf)).astype(jnp.result_type(leaf)))
        start += jnp.size(leaf)
    return jax.tree.unflatten(treedef, pieces)
