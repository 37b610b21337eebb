"""The mesh of a run: ``config.mesh`` over the devices at hand, checked before anything expensive."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import jax
from jax.sharding import AxisType, Mesh

from mass_jax.models import partition
from mass_jax.models.partition import AXES, DATA, FSDP, TENSOR
from mass_jax.models.transformer import ModelConfig
from mass_jax.training.errors import InputError
from mass_jax.types import PyTree

T = TypeVar("T", bound=PyTree)
Shardings = Callable[[Mesh, T], T]


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


def check(found: Mapping[str, int], model: ModelConfig, batches: Mapping[str, int]) -> None:
    """Whether a model and the batches of a run can be split over a mesh.

    Args:
      found: sizes of the axes.
      model: the architecture.
      batches: the config field and the number of problems, sequences or documents, of everything that is spread.

    Raises:
      InputError: names the first thing that does not divide.
    """
    tensor, fsdp, spread = found[TENSOR], found[FSDP], found[DATA] * found[FSDP]
    named = {
        "the model's key-value heads": (model.kv_heads, tensor, TENSOR),
        "the model's query heads": (model.heads, tensor, TENSOR),
        "the model's MLP": (model.mlp_width, tensor, TENSOR),
        "the model's vocabulary": (model.vocab_size, tensor, TENSOR),
        "the model's width": (model.width, fsdp, FSDP),
        **{name: (count, spread, f"{DATA} x {FSDP}") for name, count in batches.items()},
    }
    for name, (count, ways, axis) in named.items():
        if count % ways:
            raise InputError(
                f"{name} ({count}) cannot be split over mesh.{axis} = {ways}: choose a mesh or a number that divides."
            )


def make(wanted: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh | None:
    """The mesh over all devices; None where there is one, and nothing to split."""
    devices = list(jax.devices() if devices is None else devices)
    found = sizes(wanted, len(devices))
    if len(devices) == 1:
        return None
    return jax.make_mesh(tuple(found.values()), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def template(start: Callable[..., T], *given: PyTree, shardings: Shardings = partition.shardings) -> T:
    """The shapes of what ``start(*given)`` makes, and where its leaves are to lie, wherever they were saved from."""
    shapes = jax.eval_shape(start, *given)
    if not partition.active():
        return shapes
    places = shardings(jax.sharding.get_mesh(), shapes)
    return jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, places)


def placed(start: Callable[..., T], *given: PyTree, shardings: Shardings = partition.shardings) -> T:
    """What ``start(*given)`` makes, made where it is to lie.

    Arrays on the devices are ``given``, not closed over: no process could write those that span several into a program.
    """
    if not partition.active():
        return start(*given)
    places = shardings(jax.sharding.get_mesh(), jax.eval_shape(start, *given))
    return jax.jit(start, out_shardings=places)(*given)
