"""Several processes on one mesh: each holds the text of its own problems, and the arrays are all theirs together.

With one process everything here is a plain transfer between host and devices, made explicitly, so that a transfer guard
can tell it from one by mistake. What is done by every process must be done by all of them in the same order.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from mass_jax.parallel import partition
from mass_jax.parallel.partition import PROBLEMS, P
from mass_jax.types import PyTree


def first() -> bool:
    """Whether this is the process that writes what all would write alike."""
    return jax.process_index() == 0


def wait(what: str) -> None:
    """Until all processes are here; ``what`` names the place."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def rows(count: int) -> np.ndarray:
    """Which of ``count`` problems are this process's, ascending; all of them where it is alone.

    Processes whose devices hold the same problems, because ``tensor`` runs across them, have the same rows.
    """
    if jax.process_count() == 1:
        return np.arange(count)
    indices = _over_problems().addressable_devices_indices_map((count,)).values()
    return np.unique(np.concatenate([np.arange(count)[index] for index in indices]))


def mine(tree: PyTree) -> PyTree:
    """This process's rows of host arrays that every process has."""
    return jax.tree.map(lambda leaf: leaf[rows(len(leaf))], tree)


def whole_count(some: int) -> int:
    """How many problems all processes have, of which this one has ``some``."""
    ways = partition.ways()
    return some * ways // len(rows(ways))


def put(tree: PyTree) -> PyTree:
    """Values that every process has, on the devices, whole on each; arrays that lie there already stay as they are."""
    if not partition.active():
        return jax.device_put(tree)
    # Onto all of the mesh: a guarded program must not have to copy it from one device to the others.
    everywhere = NamedSharding(jax.sharding.get_mesh(), P())

    def one(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array):
            return leaf
        return _assemble(np.shape(leaf), everywhere, lambda index: np.asarray(leaf)[index])

    return jax.tree.map(one, tree)


def place(leaf: np.ndarray, sharding: NamedSharding | None) -> jax.Array:
    """A host array that every process has, on the devices as ``sharding`` says: each device gets its part only."""
    if jax.process_count() == 1 or sharding is None:
        return jax.device_put(leaf, sharding)
    return _assemble(leaf.shape, sharding, lambda index: leaf[index])


def share(tree: PyTree) -> PyTree:
    """Arrays whose first axis is this process's problems, on the devices as those of all processes' problems."""
    if not partition.active():
        return jax.device_put(tree)
    places = _over_problems()
    if jax.process_count() == 1:
        return jax.device_put(tree, places)

    def one(leaf: np.ndarray) -> jax.Array:
        count = whole_count(len(leaf))
        mine = rows(count)

        def part(index: Any) -> np.ndarray:
            return leaf[np.searchsorted(mine, np.arange(count)[index[0]])]

        return _assemble((count, *leaf.shape[1:]), places, part)

    return jax.tree.map(one, jax.tree.map(np.asarray, tree))


def local(tree: PyTree) -> PyTree:
    """The inverse of `share`: on the host, this process's rows."""
    if jax.process_count() == 1:
        return jax.device_get(tree)

    def one(leaf: jax.Array) -> np.ndarray:
        parts = {shard.index[0].start or 0: shard.data for shard in leaf.addressable_shards}
        return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])

    return jax.tree.map(one, _by_problems(tree))


def whole(tree: PyTree) -> PyTree:
    """Host arrays of this process's problems, as those of all problems in their order, on every process."""
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    if not leaves:
        return tree
    count = whole_count(len(leaves[0]))
    order, *gathered = _gather([rows(count).astype(np.int32), *leaves])
    found = []
    for leaf in gathered:
        placed = np.empty((count, *leaf.shape[1:]), leaf.dtype)
        placed[order] = leaf
        found.append(placed)
    return jax.tree.unflatten(structure, found)


def whole_list(some: Sequence[Any]) -> list[Any]:
    """What JSON can hold of each of this process's problems, as that of all problems; named tuples become lists."""
    if jax.process_count() == 1:
        return list(some)
    count = whole_count(len(some))
    found: list[Any] = [None] * count
    for places, values in everyone((rows(count).tolist(), list(some))):
        for place, value in zip(places, values, strict=True):
            found[place] = value
    return found


def everyone(value: Any) -> list[Any]:
    """What JSON can hold, of every process in their order, after a round trip through JSON."""
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    if jax.process_count() == 1:
        return [json.loads(text.tobytes())]
    padded = np.zeros((1, largest(len(text))), np.uint8)
    padded[0, : len(text)] = text
    found, lengths = _gather([padded, np.array([len(text)])])
    return [json.loads(row[:length].tobytes()) for row, length in zip(found, lengths, strict=True)]


def largest(number: int) -> int:
    """The largest of all processes' numbers."""
    return int(number) if jax.process_count() == 1 else int(_gather([np.array([number], np.int32)])[0].max())


@jax.jit
def _by_problems(tree: PyTree) -> PyTree:
    """Every leaf with its problems spread, and whole otherwise."""
    return jax.tree.map(lambda leaf: partition.constrain(leaf, PROBLEMS), tree)


def _gather(leaves: list[np.ndarray]) -> list[np.ndarray]:
    """Every process's arrays, one after the other along their first axis, in the types that they have."""
    with jax.transfer_guard("allow"), jax.enable_x64(True):
        return [np.asarray(leaf) for leaf in multihost_utils.process_allgather(leaves, tiled=True)]


def _assemble(shape: tuple[int, ...], sharding: NamedSharding, part: Callable[[Any], np.ndarray]) -> jax.Array:
    """An array of which each device gets its part from this process's host: on purpose, for a transfer guard."""
    with jax.transfer_guard_host_to_device("allow"):
        return jax.make_array_from_callback(shape, sharding, part)


def _over_problems() -> NamedSharding:
    return NamedSharding(jax.sharding.get_mesh(), P(PROBLEMS))
