"""A checksum of an array's bits that does not ask how the array lies: on the host, one device, or many processes.

Every word of 32 bits (or fewer, of narrower types) is multiplied by an odd number that its place decides, and all are
added modulo 2^32. A change of one word, however small, always changes the sum, for odd numbers have inverses; other
changes keep it with a chance of 2^-32. The sum does not depend on its order, so that each device adds up what it holds
and no array is gathered.
"""

import math
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.runtime import array_tree
from mass_jax.types import AnyArray, Array

_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint32}
"""By bytes an element; one of 8 bytes is two words."""
_BLOCK = 2**16
"""Words that the host adds up at once: as many as its caches hold."""


def checksums(arrays: dict[str, AnyArray]) -> dict[str, int]:
    """Returns a number below 2^32 for every array, whose elements have 1, 2, 4 or 8 bytes each.

    It waits for their values. With several processes all have to call it; each looks at its own copy of what is not
    split.
    """
    found: dict[str, Any] = {}
    together: dict[frozenset[jax.Device], dict[str, Array]] = {}
    for name, array in arrays.items():
        if not isinstance(array, jax.Array) or array_tree.in_host_memory(array):
            found[name] = _on_host(jax.device_get(array))
        else:
            together.setdefault(frozenset(array.sharding.device_set), {})[name] = array
    for some in together.values():  # one program: many small ones that talk at once can wait for each other for ever
        found |= jax.device_get(_on_devices(some))
    return {name: int(value) for name, value in found.items()}


@jax.jit
def _on_devices(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: _on_device(array) for name, array in arrays.items()}


def _on_device(array: Array) -> Array:
    if array.dtype == jnp.bool_:
        words = array.astype(jnp.uint8)
    else:
        words = jax.lax.bitcast_convert_type(array, _WORDS[array.dtype.itemsize])
    place = jnp.zeros(words.shape, jnp.uint32)
    for axis in range(words.ndim):  # not by a reshape, which would move what is split
        stride = np.uint32(math.prod(words.shape[axis + 1 :]) % 2**32)
        place += jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * stride
    return _sum(words, place, jnp)


def _on_host(array: np.ndarray) -> int:
    words = np.ascontiguousarray(array).reshape(-1).view(_WORDS[array.dtype.itemsize])
    places, total = np.arange(min(words.size, _BLOCK), dtype=np.uint32), 0
    for start in range(0, words.size, _BLOCK):
        some = words[start : start + _BLOCK]
        total += int(_sum(some, places[: some.size] + np.uint32(start % 2**32), np))
    return total % 2**32


def _sum(words: Any, place: Any, numpy: ModuleType) -> Any:
    mixed = place * numpy.uint32(0x9E3779B1)
    mixed = (mixed ^ (mixed >> numpy.uint32(15))) * numpy.uint32(0x85EBCA6B)
    return numpy.sum(words.astype(numpy.uint32) * (mixed | numpy.uint32(1)), dtype=numpy.uint32)
