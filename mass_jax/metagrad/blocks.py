"""Rematerialisation of an inner loss from outside: put around its blocks, or taken away, without its cooperation."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
from jax.extend import core

from mass_jax.metagrad.jaxprs import Atom, Value, opened, scan_arguments
from mass_jax.types import InnerProblem, PyTree

Out = TypeVar("Out")

_CALLS = ("jit", "pjit", "closed_call", "core_call")
_REMAT = ("checkpoint", "remat", "remat2")


def remat_scan_bodies(fn: Callable[..., Out]) -> Callable[..., Out]:
    """``fn`` with the body of every ``lax.scan`` in it rematerialised: of each iteration only its carry is kept.

    A block is what a model scans over: its layers, usually, but also the chunks of a cross-entropy or the time steps
    of a recurrence. Layers in a Python loop are no blocks to this function; put ``jax.checkpoint`` around them.

    Args:
      fn: a pure function of pytrees of arrays.

    Returns:
      A function with the same values and derivatives.
    """
    return _rebuilt(fn, _CALLS, jax.checkpoint)


def without_remat(fn: Callable[..., Out]) -> Callable[..., Out]:
    """``fn`` without any ``jax.checkpoint`` in it: every activation is kept, and none computed twice.

    Args:
      fn: a pure function of pytrees of arrays.

    Returns:
      A function with the same values and derivatives.
    """
    return _rebuilt(fn, _CALLS + _REMAT, lambda body: body)


def remat_if(wanted: bool, problem: InnerProblem) -> InnerProblem:
    """The inner problem as it is, or without rematerialisation in its loss and gradient."""
    if wanted:
        return problem
    gradient = problem.gradient and without_remat(problem.gradient)
    return problem._replace(loss=without_remat(problem.loss), gradient=gradient)


def _rebuilt(
    fn: Callable[..., Out], inlined: Sequence[str], block: Callable[[Callable], Callable]
) -> Callable[..., Out]:
    """``fn`` with the ``inlined`` calls written out and ``block`` applied to the body of every scan."""

    def rebuilt(*args: PyTree) -> Out:
        closed, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
        out = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args), inlined, block)
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return rebuilt


def _evaluate(
    jaxpr: core.Jaxpr, consts: Sequence[Value], args: Sequence[Value], inlined: Sequence[str], block: Callable
) -> list[Value]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom: Atom) -> Value:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        if eqn.primitive.name == "scan":
            out = _scan(eqn.params, inputs, inlined, block)
        elif eqn.primitive.name in inlined:
            inner = opened(eqn.params["jaxpr" if "jaxpr" in eqn.params else "call_jaxpr"])
            out = _evaluate(*inner, inputs, inlined, block)
        else:
            variables = [atom for atom in eqn.invars if not isinstance(atom, core.Literal)]
            alone = jaxpr.replace(eqns=[eqn], constvars=[], invars=variables, outvars=eqn.outvars, effects=eqn.effects)
            out = core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))(*map(read, variables))
        values.update(zip(eqn.outvars, out, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _scan(params: dict[str, Any], inputs: list[Value], inlined: Sequence[str], block: Callable) -> list[Value]:
    constants, carried = scan_arguments(params)
    consts, carry, xs = inputs[:constants], inputs[constants : constants + carried], inputs[constants + carried :]
    body = opened(params["jaxpr"])

    @block
    def iteration(carry: list[Value], consts: list[Value], x: list[Value]) -> list[Value]:
        return _evaluate(*body, [*consts, *carry, *x], inlined, block)

    def step(carry: list[Value], x: list[Value]) -> tuple[list[Value], list[Value]]:
        out = iteration(carry, consts, x)
        return out[:carried], out[carried:]

    carry, ys = jax.lax.scan(
        step, carry, xs, length=params["length"], reverse=params["reverse"], unroll=params["unroll"]
    )
    return [*carry, *ys]
