"""The mesh of a run: ``config.mesh`` over the devices at hand, checked before anything expensive."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import jax
from jax.sharding import AxisType, Mesh

from mass_jax.errors import InputError
from mass_jax.parallel import partition
from mass_jax.parallel.partition import AXES, DATA, FSDP
from mass_jax.types import PyTree

T = TypeVar("T", bound=PyTree)
Shardings = Callable[[Mesh, T], T]
SPREAD = f"{DATA} x {FSDP}"
"""The axes that problems are spread over, as one."""


def sizes(wanted: Mapping[str, int], devices: int) -> dict[str, int]:
    """The size of every axis; one of them may be -1, for all devices that the others leave.

    Raises:
      InputError: the sizes do not make up the devices.
    """
    found = {axis: int(wanted[axis]) for axis in AXES}
    free = [axis for axis, size in found.items() if size == -1]
    rest = math.prod(size for size in found.values() if size != -1)
    if len(free) == 1 and rest > 0 and devices % rest == 0:
        found[free[0]] = devices // rest
    if min(found.values()) < 1 or math.prod(found.values()) != devices:
        text = " x ".join(f"{axis} {size}" for axis, size in wanted.items())
        raise InputError(
            f"mesh {text} does not divide the {devices} devices at hand: choose sizes whose product is {devices}, one "
            "of them -1 for what is left."
        )
    return found


def check(found: Mapping[str, int], sizes: Mapping[str, tuple[int, str]]) -> None:
    """Whether what a run splits can be split over a mesh.

    Args:
      found: sizes of the axes.
      sizes: by its name in a sentence, how large each thing is, and the axis that has to divide it: of the mesh, or
        `SPREAD` for what is spread as problems are.

    Raises:
      InputError: names the first thing that does not divide.
    """
    ways = dict(found) | {SPREAD: found[DATA] * found[FSDP]}
    for name, (count, axis) in sizes.items():
        if count % ways[axis]:
            raise InputError(
                f"{name} ({count}) cannot be split over mesh.{axis} = {ways[axis]}: choose a mesh or a number that "
                "divides."
            )


def make(wanted: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh | None:
    """The mesh over all devices; None where there is one, and nothing to split."""
    devices = list(jax.devices() if devices is None else devices)
    found = sizes(wanted, len(devices))
    if len(devices) == 1:
        return None
    return jax.make_mesh(tuple(found.values()), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def entered(found: Mesh | None) -> AbstractContextManager:
    """Sets the mesh within a ``with`` statement, and what was set before after it; None leaves all as it is."""
    return nullcontext() if found is None else jax.set_mesh(found)


def template(start: Callable[..., T], *given: PyTree, shardings: Shardings) -> T:
    """The shapes of what ``start(*given)`` makes, and where its leaves are to lie, wherever they were saved from."""
    shapes = jax.eval_shape(start, *given)
    if not partition.active():
        return shapes
    places = shardings(jax.sharding.get_mesh(), shapes)
    return jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, places)


def placed(start: Callable[..., T], *given: PyTree, shardings: Shardings) -> T:
    """What ``start(*given)`` makes, made where it is to lie.

    Arrays on the devices are ``given``, not closed over: no process could write those that span several into a program.
    On a single device all of it is committed to it, as what a step returns is: else a step would be compiled twice.
    """
    if not partition.active():
        return jax.device_put(start(*given), jax.local_devices()[0])
    places = shardings(jax.sharding.get_mesh(), jax.eval_shape(start, *given))
    return jax.jit(start, out_shardings=places)(*given)
