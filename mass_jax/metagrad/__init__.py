"""Differentiate through a short training run. Knows nothing of language models; usable on its own.

*What* is differentiated is an ``InnerProblem``: a loss and an optimiser. *How* is an estimator: a frozen dataclass
whose fields are its options, made by name.

    estimator             exact  memory beyond one step              module
    adjoint               yes    K parameters, or fewer              the hand-written reverse walk; the default choice
    mixed_mode            yes    K (parameters + moments)            forward over reverse by automatic differentiation
    unroll                yes    K steps of activations, or remat    the reference: vjp of the whole run
    forward               yes    one run a scalar; none of K         forward mode, for a handful of scalars
    truncated             no     window (parameters + moments)       the walk over the last steps only
    first_order           no     K parameters, or 1                  every step's Jacobian taken as the identity
    finite_difference     no     K parameters, or the last step      products by differences of gradients: DARTS, SAMA
    implicit              no     2 parameters; none of K             implicit function theorem at φ_K
    evolution             no     none, a population one by one       differences of outer losses; no derivative
    persistent_evolution  no     particles; none of K                the same on windows, unbiased by truncation

Every meta-parameter is an explicit leaf of ``meta``; weights of the practice examples, the inner learning rate, a
regulariser: whatever the inner loss or the inner optimiser reads.
"""

from mass_jax.metagrad import optimizers
from mass_jax.metagrad.adjoint import Adjoint
from mass_jax.metagrad.assumptions import AssumptionWarning, warn_if_broken
from mass_jax.metagrad.base import CotangentEstimator, Estimator, InnerRun
from mass_jax.metagrad.evolution import Evolution, PersistentEvolution, PersistentState
from mass_jax.metagrad.explain import Explanation, explain
from mass_jax.metagrad.finite_difference import FiniteDifference
from mass_jax.metagrad.first_order import FirstOrder
from mass_jax.metagrad.forward import Forward
from mass_jax.metagrad.implicit import Implicit
from mass_jax.metagrad.microbatch import check_additive
from mass_jax.metagrad.mixed_mode import MixedMode
from mass_jax.metagrad.normalized import normalized_examples
from mass_jax.metagrad.registry import ESTIMATORS, make, register
from mass_jax.metagrad.truncated import Truncated
from mass_jax.metagrad.unroll import Unroll

__all__ = [
    "ESTIMATORS",
    "Adjoint",
    "AssumptionWarning",
    "CotangentEstimator",
    "Estimator",
    "Evolution",
    "Explanation",
    "FiniteDifference",
    "FirstOrder",
    "Forward",
    "Implicit",
    "InnerRun",
    "MixedMode",
    "PersistentEvolution",
    "PersistentState",
    "Truncated",
    "Unroll",
    "check_additive",
    "explain",
    "make",
    "register",
    "normalized_examples",
    "optimizers",
    "warn_if_broken",
]
