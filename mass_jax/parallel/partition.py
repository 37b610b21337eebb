"""Partition rules as data: which axis of the mesh each axis of an array is split over.

The mesh has three axes. Problems are spread over ``data`` and ``fsdp``, each with its own adapter; the parameters'
matrices are split over ``fsdp`` and ``tensor``. A layer's matrices are gathered over ``fsdp`` where the layer runs, one
layer at a time, and stay split over ``tensor``.

Everything here does nothing where no mesh with these axes is set (`jax.set_mesh`), so that the same functions run on
one device.
"""

import math
import re
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mass_jax.types import Array, PyTree

DATA, FSDP, TENSOR = "data", "fsdp", "tensor"
AXES = (DATA, FSDP, TENSOR)
PROBLEMS = (DATA, FSDP)
"""What problems, and sequences in general, are spread over."""
P = PartitionSpec

Rules = tuple[tuple[str, PartitionSpec], ...]
"""A pattern for the end of a leaf's path, and its spec."""


def specs(tree: PyTree, rules: Rules) -> PyTree:
    """The spec of every leaf, in the structure of ``tree``.

    Raises:
      ValueError: names the leaves that match no rule, or more than one.
    """
    wrong: list[str] = []

    def one(path: tuple, leaf: Any) -> PartitionSpec:
        name = path_name(path)
        found = [spec for pattern, spec in rules if re.fullmatch(f"(?:.*/)?{pattern}", name)]
        if len(found) != 1:
            wrong.append(f"{name} ({len(found)})")
        return found[0] if found else P()

    found = jax.tree_util.tree_map_with_path(one, tree)
    if wrong:
        raise ValueError(f"every leaf must match exactly one partition rule, but these do not: {', '.join(wrong)}.")
    return found


def shardings(mesh: Mesh, tree: PyTree, rules: Rules) -> PyTree:
    """`specs` on a mesh, for `jax.jit`, `jax.device_put` and checkpoints."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs(tree, rules), is_leaf=is_spec)


def constrain(x: Array, *axes: Any) -> Array:
    """``x`` split as the axes say; those that are not named are whole."""
    return jax.lax.with_sharding_constraint(x, P(*axes)) if active() else x


def constrain_tree(tree: PyTree, rules: Rules) -> PyTree:
    """Every leaf as its rule says."""
    if not active():
        return tree
    return jax.tree.map(lambda spec, leaf: constrain(leaf, *spec), specs(tree, rules), tree, is_leaf=is_spec)


def spread(tree: PyTree, axis: int = 0) -> PyTree:
    """Every leaf with problems (or sequences) along ``axis``, and for the rest as the compiler likes."""
    return jax.tree.map(
        lambda leaf: constrain(leaf, *(PROBLEMS if i == axis else P.UNCONSTRAINED for i in range(leaf.ndim))), tree
    )


def gathered(params: PyTree, rules: Rules, prefix: str = "") -> PyTree:
    """Parameters whole along ``fsdp``: where they are used, a layer at a time.

    Args:
      params: of one layer with the prefix ``layers/``, or whole ones.
      rules: of all parameters.
      prefix: what stands before their names in the rules.
    """
    if not active():
        return params

    def one(spec: PartitionSpec, leaf: Array) -> Array:
        axes = spec[1:] if prefix else spec  # a layer's parameters have no axis L
        # Said to be split first: so is then its cotangent, a layer at a time, and not whole for all layers.
        return constrain(constrain(leaf, *axes), *(None if axis == FSDP else axis for axis in axes))

    found = specs({prefix: params} if prefix else params, rules)
    return jax.tree.map(one, found[prefix] if prefix else found, params, is_leaf=is_spec)


def ways(axes: tuple[str, ...] = PROBLEMS) -> int:
    """Into how many parts the axes of the mesh split; 1 without a mesh."""
    return math.prod(jax.sharding.get_abstract_mesh().shape[axis] for axis in axes) if active() else 1


def active() -> bool:
    """Whether a mesh with these axes is set."""
    return set(AXES) <= set(jax.sharding.get_abstract_mesh().axis_names)


def path_name(path: tuple) -> str:
    """``layers/q_proj/kernel``."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def is_spec(x: Any) -> bool:
    """Whether a leaf is a spec: the tree utilities would otherwise walk into it."""
    return isinstance(x, PartitionSpec)
