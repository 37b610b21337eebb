"""Checks at the door: what a caller can get wrong, said in a sentence before anything is compiled."""

import jax
import jax.numpy as jnp

from mass_jax.types import Batch, Meta, Params, PyTree


def check_inputs(init: Params, meta: Meta, batches: Batch) -> int:
    """Checks the arguments of an inner run and returns K, the number of its steps.

    Raises:
      TypeError: a leaf of ``init`` or ``meta`` is not floating.
      ValueError: ``batches`` has no leaves, no examples or no steps, or its leaves disagree on K.
    """
    _check_floating("init", init)
    _check_floating("meta", meta)
    leaves = jax.tree.leaves_with_path(batches)
    if not leaves:
        raise ValueError("batches has no leaves; pass a pytree of arrays whose leading axis counts the inner steps.")
    shapes = {"batches" + jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}
    for name, shape in shapes.items():
        if not shape:
            raise ValueError(f"{name} is a scalar; every leaf needs a leading axis K: stack one batch per inner step.")
        if shape[0] == 0:
            raise ValueError(
                f"{name} has shape {shape}, so K = 0 inner steps; the least is 1: pass at least one batch."
            )
        if 0 in shape:
            raise ValueError(f"{name} has shape {shape}: the batch is empty; pass at least one example per step.")
    if len({shape[0] for shape in shapes.values()}) > 1:
        lengths = ", ".join(f"{name} has {shape[0]}" for name, shape in shapes.items())
        raise ValueError(
            f"batches disagree on the number of inner steps K: {lengths}; give every leaf the same axis 0."
        )
    return next(iter(shapes.values()))[0]


def check_cotangent(cotangent: Params, params: Params) -> None:
    """Checks that a cotangent has the structure, shapes and dtypes of the parameters (arrays or shape structs).

    Raises:
      ValueError: naming what differs.
    """
    found, wanted = jax.tree.leaves_with_path(cotangent), jax.tree.leaves_with_path(params)
    found_names, wanted_names = ([jax.tree_util.keystr(path) for path, _ in leaves] for leaves in (found, wanted))
    if found_names != wanted_names:
        raise ValueError(
            f"cotangent has leaves {found_names}, the parameters {wanted_names}; pass the gradient of the outer loss "
            "with respect to the adapted parameters, as it is."
        )
    for name, (_, leaf), (_, like) in zip(found_names, found, wanted, strict=True):
        if jnp.shape(leaf) != like.shape or jnp.result_type(leaf) != like.dtype:
            raise ValueError(
                f"cotangent{name} is {jnp.result_type(leaf)}{list(jnp.shape(leaf))}, the parameter "
                f"{like.dtype}{list(like.shape)}; differentiate the outer loss at the adapted parameters."
            )


def check_steps(residuals_K: PyTree, steps: int) -> None:
    """Checks that residuals come from a run of as many steps as the batches hold.

    Raises:
      ValueError: naming both numbers.
    """
    kept = jax.tree.leaves(residuals_K)[0].shape[0]
    if kept != steps:
        raise ValueError(f"residuals hold K = {kept} steps, batches {steps}; pass the batches that adapt was given.")


def _check_floating(name: str, tree: PyTree) -> None:
    for path, leaf in jax.tree.leaves_with_path(tree):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"{name}{jax.tree_util.keystr(path)} has dtype {dtype}, which has no gradient; only floating leaves "
                "are allowed: cast it, or move it into the batches."
            )
