"""What a traced program would cost: FLOPs, live bytes and structural zeros of a jaxpr, read without compiling it."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core
from jax.interpreters import partial_eval

from mass_jax.metagrad.jaxprs import Atom, opened, programs, scan_arguments
from mass_jax.types import PyTree

BOUNDARY = "metagrad_adapted_parameters"
"""The name that ``mark_boundary`` leaves in a program, where the way there ends and the way back begins."""

# An output of these is a view of its operand, or is made again wherever it is read.
_VIEWS = frozenset(
    ("reshape squeeze expand_dims name copy stop_gradient broadcast_in_dim iota convert_element_type transpose").split()
)
_MOVES = _VIEWS | frozenset(
    (
        "slice dynamic_slice dynamic_update_slice concatenate gather pad rev split device_put optimization_barrier"
    ).split()
)
_ELEMENTWISE = frozenset(
    (
        "add sub mul div neg exp exp2 log log1p expm1 tanh logistic sqrt rsqrt square pow integer_pow max min "
        "abs sign select_n eq ne lt le gt ge and or not sin cos erf is_finite floor ceil round clamp add_any "
        "convert_element_type broadcast_in_dim iota reshape transpose squeeze expand_dims"
    ).split()
)
_REDUCTIONS = frozenset(("reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or argmax argmin").split())
# f(0, …, 0) = 0, all floating operands being zero.
_ZERO_IF_ALL = _MOVES | frozenset(
    (
        "add sub add_any neg select_n reduce_sum reduce_max reduce_min cumsum max min abs sign sqrt square "
        "scatter-add scatter_add tanh sin integer_pow psum"
    ).split()
)
_ZERO_IF_ANY = frozenset(("mul dot_general conv_general_dilated").split())


class Flops(NamedTuple):
    """Floating-point operations of a program, and what could not be counted.

    Attributes:
      matmul: of matrix products and convolutions, two for each multiply-add.
      elementwise: one for each element of every other arithmetic result (a reduction: of its operand).
      notes: sentences about operations whose count is not exact.
    """

    matmul: int
    elementwise: int
    notes: tuple[str, ...]


def trace(fn: Callable[..., PyTree], *args: PyTree) -> tuple[core.Jaxpr, PyTree]:
    """The program of ``fn`` without what its results do not need, and the shapes of its results.

    Nothing is compiled or run. The compiler drops dead code too: leaving it in would count work that is never done.

    Args:
      fn: a function of pytrees.
      *args: pytrees of arrays or ``jax.ShapeDtypeStruct``.
    """
    closed, shapes = jax.make_jaxpr(fn, return_shape=True)(*args)
    return partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))[0], shapes


def tree_bytes(tree: PyTree) -> int:
    """The bytes of a pytree of arrays or shapes; typed keys count by what they are made of."""
    return sum(_aval_bytes(leaf) for leaf in jax.tree.leaves(tree))


def count_flops(jaxpr: core.Jaxpr) -> Flops:
    """Counts a program: products exactly, times the lengths of the scans around them.

    Of a ``cond`` the dearest branch counts, of a ``while`` one round, for how often it goes round is not in the
    program; custom kernels count nothing. Each of these adds a note.
    """
    matmul, elementwise, notes = 0, 0, []
    for eqn in jaxpr.eqns:
        name, times = eqn.primitive.name, 1
        inner = list(_subjaxprs(eqn))
        if name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            matmul += 2 * _size(eqn.outvars[0]) * math.prod(_shape(eqn.invars[0])[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            matmul += _conv_flops(eqn)
        elif name in _REDUCTIONS or name.startswith(("reduce", "scatter", "sort", "cum")):
            elementwise += max(_size(v) for v in [*eqn.invars, *eqn.outvars])
        elif name in ("pallas_call", "ffi_call", "pure_callback", "io_callback"):
            notes.append(f"what is inside {name} is not counted.")
        elif name == "cond":
            branches = [count_flops(branch) for branch in inner]
            matmul += max(branch.matmul for branch in branches)
            elementwise += max(branch.elementwise for branch in branches)
            notes += [note for branch in branches for note in branch.notes]
            notes.append("of a cond, the dearest branch is counted.")
        elif inner:
            if name == "scan":
                times = eqn.params["length"]
            elif name == "while":
                notes.append("a while loop is counted once: how often it goes round is not known before it runs.")
            for part in map(count_flops, inner):
                matmul, elementwise = matmul + times * part.matmul, elementwise + times * part.elementwise
                notes += part.notes
        elif name not in _MOVES:
            elementwise += sum(_size(v) for v in eqn.outvars)
    return Flops(matmul, elementwise, tuple(dict.fromkeys(notes)))


def peak_bytes(jaxpr: core.Jaxpr) -> int:
    """An estimate of the most bytes alive at once, results included, arguments and constants not.

    It walks the program in the order of its trace. Fusion is imitated only so far: views cost nothing, nor does an
    elementwise result that one other elementwise operation or reduction reads. The compiler's buffers may be smaller
    (it reorders) or larger (it pads).
    """
    return _walk(jaxpr)[0]


def boundary_bytes(jaxpr: core.Jaxpr) -> int:
    """The bytes that are computed before the boundary and read after it: what the way back needs of the way there.

    Arguments, constants and the adapted parameters themselves are not counted.

    Raises:
      ValueError: the program has no ``mark_boundary``.
    """
    found = _walk(jaxpr)[1]
    if found is None:
        raise ValueError("the program has no boundary; wrap the argument of its outer loss in mark_boundary.")
    return found


def mark_boundary(params: PyTree) -> PyTree:
    """The identity, which leaves a mark in the program for ``boundary_bytes``."""
    return jax.tree.map(lambda leaf: checkpoint_name(leaf, BOUNDARY), params)


def zero_results(jaxpr: core.Jaxpr, zero_inputs: Iterable[bool] | None = None) -> list[bool]:
    """For each result, whether it is zero whatever the arguments: a gradient that is cut rather than small."""
    inputs = [False] * len(jaxpr.invars) if zero_inputs is None else list(zero_inputs)
    zero = dict(zip(jaxpr.invars, inputs, strict=True))

    def is_zero(atom: Atom) -> bool:
        if isinstance(atom, core.Literal):
            return bool(np.ndim(atom.val) == 0 and _is_floating(atom.aval) and atom.val == 0)
        return zero.get(atom, False)

    for eqn in jaxpr.eqns:
        for var, flag in zip(eqn.outvars, _zero_outputs(eqn, [is_zero(atom) for atom in eqn.invars]), strict=True):
            zero[var] = flag
    return [is_zero(atom) for atom in jaxpr.outvars]


def _zero_outputs(eqn: core.JaxprEqn, inputs: list[bool]) -> list[bool]:
    name, nothing = eqn.primitive.name, [False] * len(eqn.outvars)
    if name == "scan":
        (body, _), (consts, carry) = opened(eqn.params["jaxpr"]), scan_arguments(eqn.params)
        carried = inputs[consts : consts + carry]
        while True:
            results = zero_results(body, inputs[:consts] + carried + inputs[consts + carry :])
            remaining = [before and after for before, after in zip(carried, results[:carry], strict=True)]
            if remaining == carried:
                return carried + results[carry:]
            carried = remaining
    inner = list(_subjaxprs(eqn))
    if len(inner) == 1 and len(inner[0].invars) == len(inputs) and len(inner[0].outvars) == len(nothing):
        return zero_results(inner[0], inputs) if name not in ("while", "cond") else nothing
    if inner:
        return nothing
    if name in _ZERO_IF_ANY:
        return [any(inputs)] * len(nothing)
    if name == "div":
        return [inputs[0]]
    if name in _ZERO_IF_ALL:
        floating = [flag for flag, atom in zip(inputs, eqn.invars, strict=True) if _is_floating(atom.aval)]
        return [bool(floating) and all(floating)] * len(nothing)
    return nothing


Buffers = frozenset[core.Var]
"""What a value lies in: a buffer of its own, or those of what it is made of."""


def _lifetimes(jaxpr: core.Jaxpr) -> tuple[dict[core.Var, Buffers], dict[core.Var, int]]:
    """The buffers that each value stands for, and by which operation each buffer is read last."""
    consumers: dict[core.Var, list[str]] = {}
    for eqn in jaxpr.eqns:
        for atom in eqn.invars:
            if isinstance(atom, core.Var):
                consumers.setdefault(atom, []).append(eqn.primitive.name)
    results = {atom for atom in jaxpr.outvars if isinstance(atom, core.Var)}

    buffers: dict[core.Var, Buffers] = {v: frozenset() for v in [*jaxpr.invars, *jaxpr.constvars]}

    def fused(eqn: core.JaxprEqn, var: core.Var) -> bool:
        names = consumers.get(var, [])
        if eqn.primitive.name in _VIEWS:
            return True
        return (
            eqn.primitive.name in _ELEMENTWISE
            and len(names) == 1
            and var not in results
            and names[0] in _ELEMENTWISE | _REDUCTIONS
        )

    last: dict[core.Var, int] = {}
    for index, eqn in enumerate(jaxpr.eqns):
        sources = _read(buffers, eqn.invars)
        for buffer in sources:
            last[buffer] = index
        for var in eqn.outvars:
            buffers[var] = sources if fused(eqn, var) else frozenset([var])
            last.setdefault(var, index)
    for buffer in _read(buffers, jaxpr.outvars):
        last[buffer] = len(jaxpr.eqns)
    return buffers, last


def _read(buffers: dict[core.Var, Buffers], atoms: Iterable[Atom]) -> Buffers:
    return frozenset().union(*(buffers[atom] for atom in atoms if isinstance(atom, core.Var)))


def _walk(jaxpr: core.Jaxpr) -> tuple[int, int | None]:
    """The peak, and the bytes alive across the boundary (None without one)."""
    buffers, last = _lifetimes(jaxpr)
    alive: set[core.Var] = set()
    alive_bytes, peak, across = 0, 0, None
    for index, eqn in enumerate(jaxpr.eqns):
        made = {var for var in eqn.outvars if buffers[var] == frozenset([var])}
        made_bytes = sum(_aval_bytes(var.aval) for var in made)
        parts = [_walk(part) for part in _subjaxprs(eqn)]
        inside = max((part[0] for part in parts), default=0)
        dying = {buffer for buffer in alive if last[buffer] <= index}
        if eqn.primitive.name in ("scan", "while"):
            here = alive_bytes + made_bytes + inside
        elif parts:
            here = alive_bytes + max(made_bytes, inside)
        elif eqn.primitive.name in _ELEMENTWISE:  # in place of what is read for the last time
            here = alive_bytes + max(0, made_bytes - sum(_aval_bytes(buffer.aval) for buffer in dying))
        else:
            here = alive_bytes + made_bytes
        peak = max(peak, here)
        if across is None:
            nested = [part[1] for part in parts if part[1] is not None]
            if nested:
                across = nested[0] + sum(_aval_bytes(b.aval) for b in alive if last[b] > index)
            elif eqn.primitive.name == "name" and eqn.params["name"] == BOUNDARY:
                adapted = _read(
                    buffers,
                    (
                        atom
                        for other in jaxpr.eqns
                        if other.primitive.name == "name" and other.params["name"] == BOUNDARY
                        for atom in other.invars
                    ),
                )
                crossing = {b for b in alive if last[b] > index} - adapted
                across = sum(_aval_bytes(b.aval) for b in crossing)
        alive = (alive | made) - {buffer for buffer in alive | made if last[buffer] <= index}
        alive_bytes = sum(_aval_bytes(buffer.aval) for buffer in alive)
    return peak, across


def _subjaxprs(eqn: core.JaxprEqn) -> Iterable[core.Jaxpr]:
    """The programs that an operation runs; of a linear solve its solver only, not the rules of its derivative."""
    if eqn.primitive.name == "custom_linear_solve":
        return programs({"solve": eqn.params["jaxprs"].solve})
    if eqn.primitive.name.startswith(("reduce", "scatter", "argm")) or eqn.primitive.name == "pallas_call":
        return ()  # a scalar function of two elements, or a kernel
    return programs(eqn.params)


def _conv_flops(eqn: core.JaxprEqn) -> int:
    """Two for each multiply-add; taps that fall on padding or between dilated inputs are none."""
    params, (lhs, rhs), out = eqn.params, map(_shape, eqn.invars), _shape(eqn.outvars[0])
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    taps = 1
    for axis, (low, _) in enumerate(params["padding"]):
        stretch = params["lhs_dilation"][axis]
        place = (
            np.arange(out[out_spec[2 + axis]])[:, None] * params["window_strides"][axis]
            + np.arange(rhs[rhs_spec[2 + axis]])[None] * params["rhs_dilation"][axis]
            - low
        )
        inside = (place >= 0) & (place <= (lhs[lhs_spec[2 + axis]] - 1) * stretch) & (place % stretch == 0)
        taps *= int(inside.sum())
    return 2 * out[out_spec[0]] * out[out_spec[1]] * rhs[rhs_spec[1]] * taps


def _shape(atom: Atom) -> tuple[int, ...]:
    return getattr(atom.aval, "shape", ())


def _size(atom: Atom) -> int:
    return math.prod(_shape(atom))


def _aval_bytes(aval: object) -> int:
    if not (hasattr(aval, "dtype") and hasattr(aval, "shape")):
        return 0
    if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended):
        return math.prod(aval.shape) * getattr(aval.dtype, "itemsize", 8)
    return math.prod(aval.shape) * aval.dtype.itemsize


def _is_floating(aval: object) -> bool:
    return hasattr(aval, "dtype") and jax.dtypes.issubdtype(aval.dtype, np.floating)
