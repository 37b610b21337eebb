"""Differentiate through a short training run. Knows nothing of language models; usable on its own.

*What* is differentiated is an ``InnerProblem``: a loss and an optimiser. *How* is an estimator: a frozen dataclass
whose fields are its options, made by name.

    estimator    exact  memory beyond one step             module
    adjoint      yes    K (parameters + moments)           the hand-written reverse walk; the default choice
    unroll       yes    K steps of activations, or remat   the reference: vjp of the whole run
    first_order  no     K parameters                       every step's Jacobian taken as the identity; a control

Every meta-parameter is an explicit leaf of ``meta``; weights of the practice examples, the inner learning rate, a
regulariser: whatever the inner loss or the inner optimiser reads.
"""

from mass_jax.metagrad import optimizers
from mass_jax.metagrad.adjoint import Adjoint
from mass_jax.metagrad.base import CotangentEstimator, Estimator, InnerRun
from mass_jax.metagrad.first_order import FirstOrder
from mass_jax.metagrad.registry import ESTIMATORS, make
from mass_jax.metagrad.unroll import Unroll

__all__ = [
    "ESTIMATORS",
    "Adjoint",
    "CotangentEstimator",
    "Estimator",
    "FirstOrder",
    "InnerRun",
    "Unroll",
    "make",
    "optimizers",
]
