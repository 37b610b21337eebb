"""What a traced operation holds, whichever jax has traced it."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax.extend import core


def opened(jaxpr: Any) -> tuple[core.Jaxpr, Sequence[Any]]:
    """A program and its constants, of a closed jaxpr or of one that is open and has none."""
    return (jaxpr.jaxpr, jaxpr.consts) if isinstance(jaxpr, core.ClosedJaxpr) else (jaxpr, ())


def scan_arguments(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many constants a scan with these ``params`` takes, and how many values it carries."""
    if "ft_in" in params:  # since jax 0.11
        consts, carry, _ = map(len, params["ft_in"].unpack())
        return consts, carry
    return params["num_consts"], params["num_carry"]
