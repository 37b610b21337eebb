"""Estimators by name."""

import dataclasses
from typing import get_type_hints

from mass_jax.metagrad.adjoint import Adjoint
from mass_jax.metagrad.base import CotangentEstimator, Estimator
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
      ValueError: the name is taken, or the class is no estimator.
    """
    decorated = vars(kind).get("__dataclass_params__") if isinstance(kind, type) else None
    if decorated is None or not decorated.frozen:
        raise ValueError(f"the estimator {name!r} is no frozen dataclass: decorate it by @dataclass(frozen=True).")
    get_type_hints(kind)  # a type that is none is a NameError here, not where an option is given
    lacking = {member for member in vars(Estimator) if not member.startswith("_")} | Estimator.__annotations__.keys()
    lacking = {member for member in lacking if not hasattr(kind, member)} | getattr(kind, "__abstractmethods__", set())
    if lacking:
        raise ValueError(f"the estimator {name!r} lacks {', '.join(sorted(lacking))}: see {Estimator.__module__}.")
    if kind.needs_cotangent != issubclass(kind, CotangentEstimator):
        raise ValueError(
            f"the estimator {name!r} has needs_cotangent = {kind.needs_cotangent}: it is True of those that inherit "
            "from CotangentEstimator, and of those only."
        )
    if ESTIMATORS.setdefault(name, kind) is not kind:
        raise ValueError(f"there is an estimator {name!r} already: give another name.")


def make(name: str, **options: Option) -> Estimator:
    """Makes an estimator, e.g. ``make("adjoint", microbatch=2)``.

    Args:
      name: a key of ``ESTIMATORS``.
      **options: fields of the estimator's dataclass.

    Raises:
      ValueError: an unknown name or option, or one that is missing; the sentence lists the valid ones.
    """
    if name not in ESTIMATORS:
        raise ValueError(f"estimator {name!r} is unknown; choose one of {', '.join(sorted(ESTIMATORS))}.")
    fields = dataclasses.fields(ESTIMATORS[name])  # type: ignore[arg-type]
    valid = [field.name for field in fields]
    unknown = sorted(set(options) - set(valid))
    if unknown:
        raise ValueError(f"estimator {name!r} has no option {', '.join(unknown)}; its options are {', '.join(valid)}.")
    needed = [field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING]
    if missing := [option for option in needed if option not in options]:
        raise ValueError(f"estimator {name!r} needs the option {', '.join(missing)}: give it.")
    return ESTIMATORS[name](**options)
