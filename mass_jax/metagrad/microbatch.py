"""Sum a function over the examples of a step: over slices, of which one is alive at a time, and over devices."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from mass_jax.types import Batch, InnerProblem, Meta, Params, PyTree

Out = TypeVar("Out", bound=PyTree)


def sum_over_microbatches(
    fn: Callable[[Batch], Out], batch: Batch, size: int | None, varying: tuple[str, ...] = ()
) -> Out:
    """Σ fn(part) over consecutive parts of ``size`` examples, one after another.

    Exact for what is additive over examples: a loss that is a sum, its gradients and Hessian-vector products. It must
    run *inside* the differentiation (each part is differentiated and dropped); outside it saves nothing.

    Args:
      fn: a function of a batch that returns a pytree of arrays.
      batch: leaves [N, ...], which are split, and scalars (a step index, say), which every part is given whole.
      size: examples a part; None for ``fn(batch)`` as it is.
      varying: mesh axes along which the results differ, inside ``jax.shard_map``.

    Raises:
      ValueError: ``size`` does not divide N, leaves disagree on N, or no leaf has an example axis.
    """
    if size is None:
        return fn(batch)
    leaves, treedef = jax.tree.flatten(batch)
    counts = sorted({leaf.shape[0] for leaf in leaves if leaf.ndim})
    if len(counts) != 1:
        raise ValueError(
            f"microbatch = {size} needs one example axis shared by every leaf of a step's batch; found lengths "
            f"{counts}: give each leaf the same leading axis within a step, or use microbatch=None."
        )
    if size < 1 or counts[0] % size:
        raise ValueError(
            f"microbatch = {size} does not divide the {counts[0]} examples of an inner step; use a divisor of "
            f"{counts[0]}, or None."
        )
    if size == counts[0]:
        return fn(batch)
    # [N, ...] to [N / size, size, ...]; scalars are no part of it and come back in `part_of`.
    split = [leaf.reshape(-1, size, *leaf.shape[1:]) for leaf in leaves if leaf.ndim]

    def part_of(pieces: list[jax.Array]) -> Batch:
        remaining = iter(pieces)
        return jax.tree.unflatten(treedef, [next(remaining) if leaf.ndim else leaf for leaf in leaves])

    def add(total: Out, pieces: list[jax.Array]) -> tuple[Out, None]:
        return jax.tree.map(jnp.add, total, fn(part_of(pieces))), None

    shapes = jax.eval_shape(lambda: fn(part_of([leaf[0] for leaf in split])))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.scan(add, jax.lax.pcast(zeros, varying, to="varying"), split)[0]


def sum_over_examples(
    fn: Callable[..., Out], shared: tuple[PyTree, ...], batch: Batch, size: int | None, axis: str | None
) -> Out:
    """Σ fn(*shared, part) over all examples of a step, those of other devices included.

    The devices meet once, for the sum of what each has summed over its own microbatches.

    Args:
      fn: as for ``sum_over_microbatches``, after what is shared.
      shared: pytrees of arrays, equal on all devices.
      batch: this device's examples.
      size: as for ``sum_over_microbatches``.
      axis: see ``InnerProblem.axis``.
    """
    if axis is None:
        return sum_over_microbatches(lambda part: fn(*shared, part), batch, size)
    # Said to differ between devices, or derivatives with respect to it would be summed over them in every microbatch.
    own = jax.lax.pcast(shared, axis, to="varying")
    return jax.lax.psum(sum_over_microbatches(lambda part: fn(*own, part), batch, size, (axis,)), axis)


def check_additive(
    problem: InnerProblem, params: Params, meta: Meta, batch: Batch, size: int, tolerance: float = 1e-3
) -> None:
    """Probes whether the inner loss is a sum over examples, as microbatching takes for granted.

    A loss that divides by the number of examples it is given, or by the sum of their weights, or that normalises over
    the batch, is not, and microbatching would silently compute another loss. Call it once on data of the real kind,
    outside ``jit``; it evaluates the loss, not its gradient.

    Args:
      problem: the inner problem.
      params: φ, anywhere in the parameters' space.
      meta: meta-parameters; weights should differ between examples.
      batch: of one step, without the leading axis K; its examples should differ.
      size: examples a part.
      tolerance: on |whole − sum of the parts|, relative to the largest part.

    Raises:
      ValueError: with both values, if they differ; or as ``sum_over_microbatches``.
    """
    whole = problem.loss(params, meta, batch)
    parts = sum_over_microbatches(
        lambda part: (lambda loss: (loss, jnp.abs(loss)))(problem.loss(params, meta, part)), batch, size
    )
    difference = float(jnp.abs(whole - parts[0]))
    if not difference <= tolerance * float(parts[1]):
        raise ValueError(
            f"the inner loss is not a sum over examples: {float(whole):.6g} on a whole batch, {float(parts[0]):.6g} as "
            f"the sum over microbatches of {size}. Divide by a constant in place of the batch's own size or weight, or "
            "use microbatch=None."
        )
