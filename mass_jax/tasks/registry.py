"""Domains by name. A module of your own adds one by `register`, before the config that names it is checked."""

from typing import TypeVar, get_args

from mass_jax.errors import InputError
from mass_jax.tasks.arithmetic.domain import Arithmetic
from mass_jax.tasks.candidates.domain import Candidates
from mass_jax.tasks.domain import DomainConfig
from mass_jax.tasks.mathematics.domain import Mathematics
from mass_jax.tasks.operators.domain import Operators

DOMAINS: dict[str, type[DomainConfig]] = {
    "arithmetic": Arithmetic,
    "candidates": Candidates,
    "operators": Operators,
    "mathematics": Mathematics,
}
Declared = TypeVar("Declared", bound=DomainConfig)


def register(kind: type[Declared]) -> type[Declared]:
    """Adds a domain under its own name, so that ``config.task.name`` can be it; returns it (a decorator).

    Raises:
      InputError: the name is taken, or the class does not say it.
    """
    names = get_args(kind.model_fields["name"].annotation)
    if len(names) != 1:
        raise InputError(f'{kind.__qualname__} does not say its name: give it a field such as name: Literal["poems"].')
    if DOMAINS.setdefault(names[0], kind) is not kind:
        raise InputError(f"there is a domain {names[0]!r} already: give another name.")
    return kind
