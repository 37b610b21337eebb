"""An estimator of one's own, as a project beside the package would have it: the exact one, cut to a norm."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from mass_jax.metagrad import Adjoint, register
from mass_jax.types import Batch, InnerProblem, Meta, MetaGradient, Params, PyTree


@dataclasses.dataclass(frozen=True)
class Clipped(Adjoint):
    """`Adjoint`, whose meta-gradient is no longer than ``limit``.

    Memory: that of `Adjoint`.
    """

    limit: float = 1.0

    def pullback(
        self, problem: InnerProblem, residuals: PyTree, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        found = super().pullback(problem, residuals, meta, batches, cotangent)
        scale = jnp.minimum(1.0, self.limit / optax.tree.norm(found.meta))
        return found._replace(meta=jax.tree.map(lambda leaf: scale * leaf, found.meta))


register("clipped", Clipped)
