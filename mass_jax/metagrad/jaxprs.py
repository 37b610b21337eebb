"""What a traced operation holds, whichever jax has traced it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend import core

from mass_jax.types import Array

Atom = core.Var | core.Literal
"""What an operation reads: a value that was computed before, or a constant written in its place."""

Value = Array | np.ndarray | bool | int | float
"""What an atom stands for when the program is run."""


def opened(jaxpr: core.Jaxpr | core.ClosedJaxpr) -> tuple[core.Jaxpr, Sequence[Value]]:
    """A program and its constants, of a closed jaxpr or of one that is open and has none."""
    return (jaxpr.jaxpr, jaxpr.consts) if isinstance(jaxpr, core.ClosedJaxpr) else (jaxpr, ())


def programs(params: Mapping[str, Any]) -> Iterator[core.Jaxpr]:
    """The programs among an operation's parameters; jax has this function itself since 0.10."""
    for value in params.values():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, core.Jaxpr | core.ClosedJaxpr):
                yield opened(each)[0]


def scan_arguments(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many constants a scan with these ``params`` takes, and how many values it carries."""
    if "ft_in" in params:  # since jax 0.11
        consts, carry, _ = map(len, params["ft_in"].unpack())
        return consts, carry
    return params["num_consts"], params["num_carry"]
