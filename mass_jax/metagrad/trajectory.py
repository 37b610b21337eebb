"""What the reverse walk keeps of the inner run, and how it finds each step's place again."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.metagrad.base import inner_step
from mass_jax.metagrad.second_order import loss_and_grad
from mass_jax.types import Array, Batch, InnerProblem, Meta, OptState, Params, PyTree

Kind = Literal["gradients", "states", "host", "replay"]
KINDS: tuple[str, ...] = ("gradients", "states", "host", "replay")


class Place(NamedTuple):
    """Where an inner step stood, and the gradient it took there."""

    params: Params
    state: OptState
    grads: Params


class Trajectory(NamedTuple):
    """What is kept of a run.

    Attributes:
      init: φ_0.
      losses_K: the inner losses.
      kept: "gradients": the gradients, stacked over K; "states" and "host": ``Place``, stacked over K; "replay":
        (φ, s) in the slots of the tree.
    """

    init: Params
    losses_K: Array
    kept: PyTree


class Tree(NamedTuple):
    """The snapshots of a k-ary tree over K steps, as static tables.

    A step's slot is set by the last digit of its number in base k that is not zero, and by that digit's position:
    later steps of the same digit and position overwrite it, when the walk no longer needs it.

    Attributes:
      slots: their number, (k − 1) · ⌈log_k K⌉ + 1 at most.
      slot_K: int [K], where the state before each step is put.
      start_K: int [K], the latest step at or before each that is in its slot when the backward walk comes to it.
    """

    slots: int
    slot_K: np.ndarray
    start_K: np.ndarray


@functools.lru_cache(maxsize=256)
def snapshot_tree(steps: int, arity: int) -> Tree:
    """The tables of a tree of ``arity`` over ``steps``."""
    slot_K = np.zeros(steps, np.int32)
    for step in range(1, steps):
        # step = rest · arity^level, rest no multiple of arity: its last digit that is not zero, and where that stands.
        level, rest = 0, step
        while rest % arity == 0:
            level, rest = level + 1, rest // arity
        slot_K[step] = 1 + level * (arity - 1) + rest % arity - 1
    # What lies in each slot after the run: the last step that was put there. Then the walk back, on paper.
    held = {int(slot): step for step, slot in enumerate(slot_K)}
    start_K = np.zeros(steps, np.int32)
    for step in reversed(range(steps)):
        start_K[step] = max(other for other in held.values() if other <= step)
        # The steps between are taken again, and each goes into its slot.
        held.update({int(slot_K[passed]): passed for passed in range(int(start_K[step]) + 1, step + 1)})
    return Tree(int(slot_K.max()) + 1, slot_K, start_K)


def run(
    problem: InnerProblem, init: Params, meta: Meta, batches: Batch, kind: Kind, arity: int, microbatch: int | None
) -> tuple[Params, Trajectory]:
    """The inner run: φ_K, and what ``kind`` keeps of the way there."""
    start = (init, problem.optimizer.init(init))
    if kind == "replay":
        return _run_into_slots(problem, start, meta, batches, arity, microbatch)

    def keep(params: Params, state: OptState, grads: Params, new_params: Params) -> PyTree:
        if kind == "gradients":
            return grads
        place = Place(params, state, grads)
        return _matrices_to("host", place) if kind == "host" else place

    step = inner_step(problem, meta, keep=keep, microbatch=microbatch)
    (params, _), (losses_K, kept) = jax.lax.scan(step, start, batches)
    return params, Trajectory(init, losses_K, kept)


def place_finder(
    problem: InnerProblem,
    trajectory: Trajectory,
    meta: Meta,
    batches: Batch,
    kind: Kind,
    arity: int,
    microbatch: int | None,
) -> tuple[PyTree, Callable[[PyTree, Array | int], tuple[PyTree, Place]]]:
    """``(memory, find)``: ``find(memory, t)`` returns the memory for the next call, and the ``Place`` of step t.

    It must be called for t = K − 1, K − 2, … in this order: the tree of snapshots is refilled on the way back.
    """
    kept, init = trajectory.kept, trajectory.init
    if kind in ("states", "host"):

        def stored(memory: PyTree, t: Array | int) -> tuple[PyTree, Place]:
            place = _index(kept, t)
            return memory, _matrices_to("device", place) if kind == "host" else place

        return (), stored
    if kind == "gradients":

        def repeated(memory: PyTree, t: Array | int) -> tuple[PyTree, Place]:
            def step(u: Array, carry: tuple[Params, OptState]) -> tuple[Params, OptState]:
                return problem.optimizer.update(_index(kept, u), carry[1], carry[0], meta)

            params, state = jax.lax.fori_loop(0, t, step, (init, problem.optimizer.init(init)))
            return memory, Place(params, state, _index(kept, t))

        return (), repeated

    tree = snapshot_tree(jax.tree.leaves(batches)[0].shape[0], arity)
    slot_K, start_K = jnp.asarray(tree.slot_K), jnp.asarray(tree.start_K)
    advance = inner_step(problem, meta, microbatch=microbatch)

    def replayed(slots: PyTree, t: Array | int) -> tuple[PyTree, Place]:
        def step(u: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            slots, at = carry
            at, _ = advance(at, _index(batches, u))
            # ``at`` is now the state before step u + 1.
            return _store(slots, at, slot_K[u + 1]), at

        first = start_K[t]
        t = jnp.asarray(t, first.dtype)
        slots, (params, state) = jax.lax.fori_loop(first, t, step, (slots, _index(slots, slot_K[first])))
        grads = loss_and_grad(problem, params, meta, _index(batches, t), microbatch)[1]
        return slots, Place(params, state, grads)

    return kept, replayed


def _run_into_slots(
    problem: InnerProblem,
    start: tuple[Params, OptState],
    meta: Meta,
    batches: Batch,
    arity: int,
    microbatch: int | None,
) -> tuple[Params, Trajectory]:
    tree = snapshot_tree(jax.tree.leaves(batches)[0].shape[0], arity)
    advance = inner_step(problem, meta, microbatch=microbatch)

    def step(carry: tuple[PyTree, PyTree], inputs: tuple[Batch, Array]) -> tuple[tuple[PyTree, PyTree], Array]:
        at, slots = carry
        batch, slot = inputs
        slots = _store(slots, at, slot)
        at, (loss, _) = advance(at, batch)
        return (at, slots), loss

    # Broadcast rather than zeros: a state may hold PRNG keys, which have no zero.
    empty = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (tree.slots, *jnp.shape(leaf))), start)
    ((params, _), slots), losses_K = jax.lax.scan(step, (start, empty), (batches, jnp.asarray(tree.slot_K)))
    return params, Trajectory(start[0], losses_K, slots)


def _index(tree: PyTree, t: Array | int) -> PyTree:
    # Indexed, not scanned over: slicing off the first step would copy the trajectory.
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[t], tree)


def _matrices_to(memory: Literal["host", "device"], tree: PyTree) -> PyTree:
    # The TPU compiler updates no scalars or vectors in host memory, and what is small need not go there.
    space = jax.memory.Space.Host if memory == "host" else jax.memory.Space.Device
    return jax.tree.map(lambda leaf: jax.device_put(leaf, space) if leaf.ndim >= 2 else leaf, tree)


def _store(slots: PyTree, at: PyTree, slot: Array) -> PyTree:
    return jax.tree.map(
        lambda all_slots, leaf: jax.lax.dynamic_update_index_in_dim(all_slots, leaf, slot, 0), slots, at
    )
