"""A pytree as a flat dict of plain arrays by path, and back: what a checkpoint stores."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.types import Array, PyTree

Layout = dict[str, list[Any]]
"""``{path: [shape, dtype]}`` of every leaf; the dtype of a typed PRNG key names its implementation, ``key<fry>``."""


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """Returns the leaves of ``tree`` by path, such as ``params/layer_0/w``.

    Raises:
      ValueError: two leaves have the same path, as of ``{"a/b": x, "a": {"b": y}}``.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    if len(named) != len(leaves):
        raise ValueError("Two leaves of the pytree have the same path; rename the keys that contain '/'.")
    return named


def layout(tree: PyTree) -> Layout:
    """Returns shape and dtype of every leaf of ``tree``, which may be abstract (``jax.ShapeDtypeStruct``)."""
    return {path: [list(np.shape(leaf)), str(_dtype(leaf))] for path, leaf in named_leaves(tree).items()}


def encode(tree: PyTree) -> dict[str, Array | np.ndarray]:
    """Returns the leaves of ``tree`` by path: PRNG keys as their ``uint32`` data, Python numbers as 0-d arrays."""

    def plain(leaf: Any) -> Array | np.ndarray:
        if _is_key(leaf):
            return jax.random.key_data(leaf)
        return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)

    return {path: plain(leaf) for path, leaf in named_leaves(tree).items()}


def abstract(template: PyTree) -> dict[str, jax.ShapeDtypeStruct | np.ndarray]:
    """Returns what ``encode`` would for ``template``, as placeholders with the shardings to restore to.

    A JAX leaf without a sharding goes to the first local device.
    """
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def placeholder(leaf: Any) -> jax.ShapeDtypeStruct | np.ndarray:
        if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
            return np.zeros(np.shape(leaf), _dtype(leaf))
        plain = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
        # A key's data has one more axis than the key, which is never split: the key's sharding fits as it is.
        return jax.ShapeDtypeStruct(plain.shape, plain.dtype, sharding=leaf.sharding or default)

    return {path: placeholder(leaf) for path, leaf in named_leaves(template).items()}


def decode(arrays: dict[str, Any], template: PyTree) -> PyTree:
    """Returns ``arrays``, as restored for ``abstract(template)``, in the structure and leaf types of ``template``."""

    def typed(path: str, leaf: Any) -> Any:
        value = arrays[path]
        if _is_key(leaf):
            return jax.random.wrap_key_data(value, impl=_key_impl(leaf.dtype))
        if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray):
            return value
        return type(leaf)(value.item())  # a NumPy scalar or a Python number

    leaves = [typed(path, leaf) for path, leaf in named_leaves(template).items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def in_host_memory(leaf: Any) -> bool:
    """Whether the host reads a leaf where it lies: a program for the devices would only have to be compiled."""
    if not isinstance(leaf, jax.Array):
        return True
    devices: set[Any] = leaf.devices()
    return leaf.is_fully_addressable and {device.platform for device in devices} == {"cpu"}


def describe_mismatch(saved: Layout, wanted: Layout, limit: int = 8) -> str:
    """Returns one indented line for each of the first ``limit`` leaves that differ, or an empty string."""

    def show(entry: list[Any] | None) -> str:
        return "absent" if entry is None else f"{entry[1]}{entry[0]}"

    paths = [p for p in sorted({*saved, *wanted}) if saved.get(p) != wanted.get(p)]
    lines = [f"  {p}: {show(saved.get(p))} (saved), {show(wanted.get(p))} (expected)" for p in paths[:limit]]
    return "\n".join(lines + [f"  and {len(paths) - limit} more"] * (len(paths) > limit))


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def _key_impl(dtype: Any) -> Any:
    return jax.random.key_impl(jnp.empty((), dtype))
