"""Estimators by name."""

import dataclasses

from mass_jax.metagrad.adjoint import Adjoint
from mass_jax.metagrad.base import Estimator
from mass_jax.metagrad.evolution import Evolution, PersistentEvolution
from mass_jax.metagrad.finite_difference import FiniteDifference
from mass_jax.metagrad.first_order import FirstOrder
from mass_jax.metagrad.forward import Forward
from mass_jax.metagrad.implicit import Implicit
from mass_jax.metagrad.mixed_mode import MixedMode
from mass_jax.metagrad.truncated import Truncated
from mass_jax.metagrad.unroll import Unroll

Option = bool | int | float | str | None
"""What a field of an estimator's dataclass may be."""

ESTIMATORS: dict[str, type[Estimator]] = {
    "adjoint": Adjoint,
    "evolution": Evolution,
    "finite_difference": FiniteDifference,
    "first_order": FirstOrder,
    "forward": Forward,
    "implicit": Implicit,
    "mixed_mode": MixedMode,
    "persistent_evolution": PersistentEvolution,
    "truncated": Truncated,
    "unroll": Unroll,
}


def register(name: str, kind: type[Estimator]) -> None:
    """Adds an estimator of your own, so that `make` and a config's ``metagrad.name`` find it.

    Args:
      name: what it is called.
      kind: a frozen dataclass whose fields are its options.

    Raises:
      ValueError: the name is taken.
    """
    if ESTIMATORS.setdefault(name, kind) is not kind:
        raise ValueError(f"there is an estimator {name!r} already: give another name.")


def make(name: str, **options: Option) -> Estimator:
    """Makes an estimator, e.g. ``make("adjoint", microbatch=2)``.

    Args:
      name: a key of ``ESTIMATORS``.
      **options: fields of the estimator's dataclass.

    Raises:
      ValueError: an unknown name or option; the sentence lists the valid ones.
    """
    if name not in ESTIMATORS:
        raise ValueError(f"estimator {name!r} is unknown; choose one of {', '.join(sorted(ESTIMATORS))}.")
    valid = [field.name for field in dataclasses.fields(ESTIMATORS[name])]  # type: ignore[arg-type]
    unknown = sorted(set(options) - set(valid))
    if unknown:
        raise ValueError(f"estimator {name!r} has no option {', '.join(unknown)}; its options are {', '.join(valid)}.")
    return ESTIMATORS[name](**options)
