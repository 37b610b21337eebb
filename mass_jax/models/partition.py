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

RULES: tuple[tuple[str, PartitionSpec], ...] = (
    (r"embed", P(TENSOR, FSDP)),
    (r"unembed", P(FSDP, TENSOR)),
    (r"final_norm", P()),
    (r"layers/(q|k|v|gate|up)_proj/kernel", P(None, FSDP, TENSOR)),
    (r"layers/(q|k|v)_proj/bias", P(None, TENSOR)),
    (r"layers/(o|down)_proj/kernel", P(None, TENSOR, FSDP)),
    (r"layers/\w+_norm/scale", P()),
    (r"(count|ns_coeffs)", P()),
)
"""Of the parameters, and of what an optimiser keeps for each of them: a pattern for the end of a path, and its spec."""

ADAPTER_RULES: tuple[tuple[str, PartitionSpec], ...] = (
    (r"\w+_proj/a", P(PROBLEMS, None, TENSOR)),
    (r"\w+_proj/b", P(PROBLEMS, None, None, TENSOR)),
)
"""Of one adapter a problem, [P, L, ...]."""

Rules = tuple[tuple[str, PartitionSpec], ...]


def specs(tree: PyTree, rules: Rules = RULES) -> PyTree:
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


def shardings(mesh: Mesh, tree: PyTree, rules: Rules = RULES) -> PyTree:
    """`specs` on a mesh, for `jax.jit`, `jax.device_put` and checkpoints."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs(tree, rules), is_leaf=_is_spec)


def constrain(x: Array, *axes: Any) -> Array:
    """``x`` split as the axes say; those that are not named are whole."""
    return jax.lax.with_sharding_constraint(x, P(*axes)) if active() else x


def constrain_tree(tree: PyTree, rules: Rules = RULES) -> PyTree:
    """Every leaf as its rule says."""
    if not active():
        return tree
    return jax.tree.map(lambda spec, leaf: constrain(leaf, *spec), specs(tree, rules), tree, is_leaf=_is_spec)


def spread(tree: PyTree, axis: int = 0) -> PyTree:
    """Every leaf with problems (or sequences) along ``axis``, and for the rest as the compiler likes."""
    return jax.tree.map(
        lambda leaf: constrain(leaf, *(PROBLEMS if i == axis else P.UNCONSTRAINED for i in range(leaf.ndim))), tree
    )


def adapter_specs(tree: PyTree) -> PyTree:
    """The spec of every leaf of a tree whose leaves have problems along their first axis.

    Adapters in it are split by their rules: [P, L, ...], or [P, ..., L, ...] where a run keeps several of a problem.
    """

    def one(path: tuple, leaf: Any) -> PartitionSpec:
        found = (spec for pattern, spec in ADAPTER_RULES if re.fullmatch(f"(?:.*/)?{pattern}", path_name(path)))
        return P(PROBLEMS, *(None,) * (leaf.ndim - 4), *next(found, P(PROBLEMS))[1:])

    return jax.tree_util.tree_map_with_path(one, tree)


def constrain_adapters(tree: PyTree) -> PyTree:
    """Every leaf as `adapter_specs` says."""
    if not active():
        return tree
    return jax.tree.map(lambda spec, leaf: constrain(leaf, *spec), adapter_specs(tree), tree, is_leaf=_is_spec)


def gathered(params: PyTree, prefix: str = "") -> PyTree:
    """Parameters whole along ``fsdp``: where they are used, a layer at a time.

    Args:
      params: of one layer with the prefix ``layers/``, or whole ones.
      prefix: what stands before their names in the rules.
    """
    if not active():
        return params

    def one(spec: PartitionSpec, leaf: Array) -> Array:
        axes = spec[1:] if prefix else spec  # a layer's parameters have no axis L
        # Said to be split first: so is then its cotangent, a layer at a time, and not whole for all layers.
        return constrain(constrain(leaf, *axes), *(None if axis == FSDP else axis for axis in axes))

    found = specs({prefix: params} if prefix else params)
    return jax.tree.map(one, found[prefix] if prefix else found, params, is_leaf=_is_spec)


def ways(axes: tuple[str, ...] = PROBLEMS) -> int:
    """Into how many parts the axes of the mesh split; 1 without a mesh."""
    return math.prod(jax.sharding.get_abstract_mesh().shape[axis] for axis in axes) if active() else 1


def active() -> bool:
    """Whether a mesh with these axes is set."""
    return set(AXES) <= set(jax.sharding.get_abstract_mesh().axis_names)


def path_name(path: tuple) -> str:
    """``layers/q_proj/kernel``."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def _is_spec(x: Any) -> bool:
    return isinstance(x, PartitionSpec)
