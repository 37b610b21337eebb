"""Domains by name. A module of your own adds one by `register`, before the config that names it is checked."""

from typing import TypeVar, get_args

from mass_jax.errors import InputError
from mass_jax.tasks.agent.domain import Agent
from mass_jax.tasks.arithmetic.domain import Arithmetic
from mass_jax.tasks.candidates.domain import Candidates
from mass_jax.tasks.code.domain import Code
from mass_jax.tasks.countdown.domain import Countdown
from mass_jax.tasks.domain import DomainConfig
from mass_jax.tasks.grid.domain import Grid
from mass_jax.tasks.mathematics.domain import Mathematics
from mass_jax.tasks.operators.domain import Operators
from mass_jax.tasks.programs.domain import Programs
from mass_jax.tasks.science.domain import Science

DOMAINS: dict[str, type[DomainConfig]] = {
    "arithmetic": Arithmetic,
    "candidates": Candidates,
    "operators": Operators,
    "programs": Programs,
    "countdown": Countdown,
    "grid": Grid,
    "agent": Agent,
    "mathematics": Mathematics,
    "code": Code,
    "science": Science,
}
Declared = TypeVar("Declared", bound=DomainConfig)


def register(kind: type[Declared]) -> type[Declared]:
    """Adds a domain under its own name, so that ``config.task.name`` can be it; returns it (a decorator).

    Raises:
      InputError: the name is taken, or the class does not say it, or lacks a method.
    """
    if not (isinstance(kind, type) and issubclass(kind, DomainConfig)):
        raise InputError(f"{kind!r} is no domain: give a class that inherits from DomainConfig.")
    kind.model_rebuild()  # a type that is none is a NameError here, not in every config that is read later
    names = get_args(kind.model_fields["name"].annotation)
    if len(names) != 1 or not isinstance(names[0], str):
        raise InputError(f'{kind.__qualname__} does not say its name: give it a field such as name: Literal["poems"].')
    if lacking := sorted(kind.__abstractmethods__):
        raise InputError(f"the domain {names[0]!r} lacks {', '.join(lacking)}: see {DomainConfig.__module__}.")
    if DOMAINS.setdefault(names[0], kind) is not kind:
        raise InputError(f"there is a domain {names[0]!r} already: give another name.")
    return kind
