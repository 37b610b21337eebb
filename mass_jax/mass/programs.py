"""The compiled programs of an outer step, each declared once: its function, and what it takes.

A step calls a program like the function that it is. Inside of `recording` nothing is computed: a call with shapes in
place of arrays is written down, and returns the shapes of what the program would. So the list of a step's programs, to
be lowered (`planning.lower`) or added up (`planning.cost`), is the step itself, walked through without data.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from mass_jax.mass import asked, attribution, credit, update
from mass_jax.mass.calls import Asked
from mass_jax.models import sampling, sharding
from mass_jax.parallel import partition
from mass_jax.parallel.partition import PROBLEMS, TENSOR, P
from mass_jax.types import Params, PyTree

Specs = Callable[[PyTree], PyTree]
"""Where the results of a program lie: a spec for every leaf."""


class Called(NamedTuple):
    """A program that was called with shapes.

    Attributes:
      name: ``<phase of the outer step>/<program>``, or the program's alone where a phase has one.
      program: which.
      args: static arguments, and `jax.ShapeDtypeStruct` for arrays.
    """

    name: str
    program: "Program"
    args: tuple[Any, ...]


class Recorder:
    """Where calls are written down.

    Attributes:
      mesh: where arrays are to lie; None for one device.
      phase: of the step, which names what is called.
      calls: so far.
    """

    def __init__(self, mesh: Mesh | None):
        """Nothing is called yet."""
        self.mesh, self.phase = mesh, ""
        self.calls: list[Called] = []

    def record(self, program: "Program", args: tuple[Any, ...]) -> PyTree:
        """Write a call down; the shapes of what it would return, placed, if another program reads them."""
        if program.asked is not None:
            self.calls.append(Called(program.name.format(phase=self.phase), program, args))
        return self.placed(program.function.eval_shape(*args), program.specs) if program.read else None

    def placed(self, tree: PyTree, specs: Specs | P | None) -> PyTree:
        """The tree's shapes on the mesh, by one spec for all leaves or a function of the tree; None for anywhere."""
        mesh = self.mesh
        if mesh is None or specs is None:
            return tree
        places = jax.tree.map(lambda _: specs, tree) if isinstance(specs, P) else specs(tree)
        return jax.tree.map(
            lambda spec, x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec)),
            places,
            tree,
            is_leaf=lambda x: isinstance(x, P),
        )


_RECORDER: contextvars.ContextVar[Recorder | None] = contextvars.ContextVar("recorder", default=None)


@contextlib.contextmanager
def recording(mesh: Mesh | None = None) -> Iterator[Recorder]:
    """Programs that are called meanwhile are written down; for ``mesh``, which is to be set (`jax.set_mesh`)."""
    recorder = Recorder(mesh)
    token = _RECORDER.set(recorder)
    try:
        yield recorder
    finally:
        _RECORDER.reset(token)


@dataclasses.dataclass(frozen=True)
class Program:
    """One compiled function of an outer step.

    Attributes:
      name: in plans; ``{phase}`` is the step's phase.
      function: as `jax.jit` returned it.
      asked: what a run with given arguments takes; None for a program that does not grow with the model and is not
        listed.
      specs: where its results lie; None for where the compiler likes.
      read: whether another program reads its results: else they are not traced for their shapes.
    """

    name: str
    function: Any
    asked: Callable[..., Asked] | None = None
    specs: Specs | P | None = None
    read: bool = True

    def __call__(self, *args: Any) -> Any:
        """Run it, or write down that it would be."""
        recorder = _RECORDER.get()
        return self.function(*args) if recorder is None else recorder.record(self, args)


def _cached(state: sampling.State) -> PyTree:
    """The specs of what is alive between two tokens; see `sampling.State`."""
    rows = jax.tree.map(lambda leaf: P(PROBLEMS) if leaf.ndim else P(), state)

    def heads(leaf: Any) -> P:
        return P(*(None,) * (leaf.ndim - 4), PROBLEMS, TENSOR)

    cache = rows.cache._replace(
        keys=jax.tree.map(heads, state.cache.keys), values=jax.tree.map(heads, state.cache.values)
    )
    return rows._replace(cache=cache)


@partial(jax.jit, static_argnames="problems")
def _repeat(adapter: Params, problems: int) -> Params:
    return partition.spread(jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (problems, *leaf.shape)), adapter))


SPREAD = P(PROBLEMS)
PREFILL = Program("{phase}/prefill", sampling.prefill, asked.prefill, _cached)
DECODE = Program("{phase}/decode", sampling.decode, asked.decode, read=False)
FRESH = Program("fresh adapter", attribution.fresh_adapter)
REPEAT = Program("repeat", _repeat, None, sharding.adapter_specs)
ADAPT = Program("adapt", attribution.score_and_adapt, asked.adapt, sharding.adapter_specs)
LOSSES = Program("losses", attribution.outer_losses, asked.losses, read=False)
ATTRIBUTE = Program("attribute", attribution.attribute, asked.attribute, read=False)
CREDIT = Program("credit", credit.credit, asked.credit, read=False)
SCORER = Program("scorer", update.scorer_gradient, read=False)
GENERATOR = Program("generator", update.update_model, asked.generator, read=False)
