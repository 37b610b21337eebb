"""The compiled programs of an outer step, with the shapes of their arguments: to lower or compile without any data.

What is lowered here is what `outer.outer_step` calls; only that the arrays are `jax.ShapeDtypeStruct`.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from mass_jax.mass import attribution, outer
from mass_jax.mass.method import Method
from mass_jax.mass.outer import Experience, OuterConfig, TrainState
from mass_jax.mass.scorer import Scores
from mass_jax.models import lora, partition, sampling
from mass_jax.models.partition import PROBLEMS, TENSOR, P
from mass_jax.types import PyTree, Sequences


class Phase(NamedTuple):
    """One compiled program.

    Attributes:
      name: ``<phase of the outer step>/<program>``.
      function: as `jax.jit` returned it.
      args: static arguments, and `jax.ShapeDtypeStruct` for arrays.
      problems: how many problems one call is about.
      tokens: how many tokens one call reads or writes, padding included.
      beside: what else lies on the chips meanwhile, for a later phase: `jax.ShapeDtypeStruct`.
    """

    name: str
    function: Any
    args: tuple[Any, ...]
    problems: int
    tokens: int
    beside: PyTree = ()

    def lower(self) -> jax.stages.Lowered:
        """Trace and lower it."""
        return self.function.lower(*self.args)


def struct(shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """An array that is not there."""
    return jax.ShapeDtypeStruct(shape, dtype)


def sequences(*shape: int) -> Sequences:
    """Token sequences that are not there."""
    return Sequences(struct(shape, jnp.int32), struct(shape, jnp.bool_))


def placed(mesh: Mesh | None, tree: PyTree, specs: PyTree) -> PyTree:
    """The tree's shapes with the shardings of ``specs``, which has its structure or is one spec for all leaves."""
    if mesh is None:
        return tree
    if isinstance(specs, P):
        specs = jax.tree.map(lambda _: specs, tree)
    return jax.tree.map(
        lambda spec, leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec)),
        specs,
        tree,
        is_leaf=lambda x: isinstance(x, P),
    )


def key() -> PyTree:
    """A PRNG key that is not there."""
    return jax.eval_shape(lambda: jax.random.key(0))


def _cached(state: sampling.State) -> PyTree:
    """The specs of what is alive between two tokens; see `sampling.State`."""
    rows = jax.tree.map(lambda leaf: P(PROBLEMS) if leaf.ndim else P(), state)

    def heads(leaf: Any) -> P:
        return P(*(None,) * (leaf.ndim - 4), PROBLEMS, TENSOR)

    cache = rows.cache._replace(
        keys=jax.tree.map(heads, state.cache.keys), values=jax.tree.map(heads, state.cache.values)
    )
    return rows._replace(cache=cache)


def make_state(method: Method, config: OuterConfig, base: PyTree, checks: int) -> TrainState:
    """The training state's shapes."""
    return jax.eval_shape(partial(outer.init_state, method, config, checks=checks), base=base, key=key())


def phases(
    method: Method,
    config: OuterConfig,
    base: PyTree,
    checks: int,
    problems: int,
    documents: Sequences,
    mesh: Mesh | None = None,
) -> list[Phase]:
    """All programs of one outer step that grow with the model; all but the last are called for every part of it.

    Args:
      method: the method.
      config: what is optimised.
      base: the parameters' shapes.
      checks: how many checks the task has.
      problems: P.
      documents: what replay and KL read, [B, T].
      mesh: where arrays are to lie; None for one device. Lower and compile with it set (`jax.set_mesh`).
    """
    lengths, examples = method.lengths, method.generator.examples
    part = problems // config.parts
    rows = part * config.sets
    state = make_state(method, config, base, checks)
    base = placed(mesh, base, partition.specs(base))
    opt_state = placed(mesh, state.opt_state, partition.specs(state.opt_state))
    eta = placed(mesh, state.eta, P())
    found: list[Phase] = []
    beside: tuple[PyTree, ...] = (base, opt_state)  # of the model that is trained, a phase reads one copy

    def spread(tree: PyTree) -> PyTree:
        return placed(mesh, tree, P(PROBLEMS))

    def generate(phase: str, adapter: PyTree, count: int, samples: int, new: int) -> None:
        model = dataclasses.replace(method.model, scan_layers=method.model.scan_decode)
        params, layers = base, adapter
        if layers is not None:
            layers = jax.tree.map(lambda x: struct((x.shape[1], x.shape[0], *x.shape[2:]), x.dtype), layers)
            specs = partition.adapter_specs(adapter)
            specs = jax.tree.map(lambda spec: P(None, *spec[:1], *spec[2:]), specs, is_leaf=lambda x: isinstance(x, P))
            layers = placed(mesh, layers, specs)
        if not model.scan_layers:
            params, layers = jax.eval_shape(partial(sampling.unstack, model), params, layers)
        settings = (model, params, layers, struct(()))
        prompts = spread((struct((count, lengths.prompt), jnp.int32), struct((count,), jnp.int32)))
        read = (*settings, *prompts, key(), spread(struct((count,), jnp.int32)), samples, new, 0, 1.0)
        found.append(Phase(f"{phase}/prefill", sampling.prefill, read, count, count * lengths.prompt, beside))
        prefill = partial(sampling.prefill, model, samples=samples, max_new_tokens=new, pad_id=0, top_p=1.0)
        begun = jax.eval_shape(prefill, *settings[1:], *prompts, key(), struct((count,), jnp.int32))
        begun = placed(mesh, begun, _cached(begun) if mesh else P())
        written = (*settings, struct((), jnp.int32), (), 0, 1.0, begun)
        found.append(Phase(f"{phase}/decode", sampling.decode, written, count, count * samples * new, beside))

    experience: list[Experience] = []
    if config.practice:
        generate("synthesise", None, rows, examples, lengths.synthesis)
        adapter = jax.eval_shape(partial(lora.init, method.lora), base, key())
        written = spread(sequences(rows, examples, lengths.prompt + lengths.synthesis))
        asked = spread(sequences(rows, examples, checks, lengths.check))
        practice = spread(sequences(rows, examples, lengths.practice))
        valid = spread(struct((rows, examples), jnp.bool_))
        args: tuple[Any, ...] = (method, base, eta, adapter, written, asked, practice, valid)
        used = rows * examples * lengths.practice * (1 if method.inner.schedule == "fresh" else method.inner.steps)
        found.append(Phase("adapt", attribution.score_and_adapt, args, rows, used, beside))
        adapted = jax.eval_shape(partial(attribution.score_and_adapt, method), *args[1:])
        adapted = placed(mesh, adapted, partition.adapter_specs(adapted))
        solutions = 1
        if config.mode == "verifier":
            solutions, beside = config.solutions, (base, opt_state, adapted)
            generate("solve", adapted.run.params, rows, solutions, lengths.solution)
            if config.solve_weight:
                generate("solve un-adapted", None, part, config.solutions, lengths.solution)
        solved = spread(sequences(rows, solutions, lengths.prompt + lengths.solution))
        beside = (base, opt_state)
        args = (method, base, adapted, practice, solved, spread(struct((rows, solutions))))
        found.append(Phase("attribute", attribution.attribute, args, rows, used, beside))
        if config.attribution_weight:
            written = spread(sequences(problems * config.sets, examples, lengths.prompt + lengths.synthesis))
            each = spread(struct((problems * config.sets, examples)))
            experience.append(Experience(written, each, each))
    solve = None
    if config.solve_weight:
        count = 1 if config.mode == "gold" else config.solutions
        attempted = spread(sequences(problems, count, lengths.prompt + lengths.solution))
        each = spread(struct((problems, count)))
        if config.mode == "gold":
            solve = attempted
        else:
            if not config.practice:
                generate("solve un-adapted", None, part, count, lengths.solution)
            experience.append(Experience(attempted, each, each))
    if config.generator_rate:
        update = (method, config, base, opt_state, base, tuple(experience), solve, spread(documents), struct(()))
        tokens = sum(x.sequences.tokens.size for x in experience) + (solve.tokens.size if solve else 0)
        found.append(Phase("generator", outer.update_model, update, problems, tokens))
    return found


def inner_run(adapt: Phase, mesh: Mesh | None = None) -> Phase:
    """The inner run alone, of the phase ``adapt``: nothing is scored, nothing kept for a way back. No step calls it."""
    method, base, _, adapter, _, _, practice, valid = adapt.args
    scores = placed(mesh, Scores(struct(valid.shape), struct(valid.shape), struct(valid.shape[:1])), P(PROBLEMS))
    return adapt._replace(name="inner run", function=attribution.adapt, args=(method, base, adapter, scores, practice))
