"""The compiled programs of an outer step, to lower or compile without data: the step, walked through with shapes."""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mass_jax.mass import attribution, programs, step, theta
from mass_jax.mass.actor import Actor
from mass_jax.mass.attribution import Attribution, Solutions, Weighed
from mass_jax.mass.calls import Asked
from mass_jax.mass.generator import attempting, writing
from mass_jax.mass.method import Method
from mass_jax.mass.objective import Experience, UpdateData
from mass_jax.mass.packing import PracticeArrays
from mass_jax.mass.practice import PracticeSets
from mass_jax.mass.programs import Recorder
from mass_jax.mass.scorer import Scores
from mass_jax.mass.state import OuterConfig, TrainState, init_state
from mass_jax.mass.step import Hooks, Keys, Part
from mass_jax.mass.texts import Practised, Texts, Worked, experience
from mass_jax.models import sampling, sharding
from mass_jax.models.sampling import Prompts, SamplingSpec
from mass_jax.parallel.partition import P
from mass_jax.tasks.base import Problem
from mass_jax.types import Array, PyTree, Sequences


class Planned(NamedTuple):
    """A compiled program of an outer step.

    Attributes:
      name: ``<phase of the outer step>/<program>``.
      program: which.
      args: static arguments, and `jax.ShapeDtypeStruct` for arrays.
      times: how often a step runs it.
      beside: what else lies on the chips meanwhile, for a later phase: `jax.ShapeDtypeStruct`.
    """

    name: str
    program: programs.Program
    args: tuple[Any, ...]
    times: int
    beside: PyTree = ()

    def lower(self) -> jax.stages.Lowered:
        """Trace and lower it."""
        return self.program.function.lower(*self.args)

    @property
    def asked(self) -> Asked:
        """What one run of it takes."""
        assert self.program.asked is not None
        return self.program.asked(*self.args)


def struct(shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """An array that is not there."""
    return jax.ShapeDtypeStruct(shape, dtype)


def sequences(*shape: int) -> Sequences:
    """Token sequences that are not there."""
    return Sequences(struct(shape, jnp.int32), struct(shape, jnp.bool_))


def key() -> PyTree:
    """A PRNG key that is not there."""
    return jax.eval_shape(lambda: jax.random.key(0))


class Shapes(Texts):
    """Stands for the host: every text is as long as it may be."""

    def __init__(self, recorder: Recorder, checks: int):
        """Take note of who writes down what is called, and of how many checks the task has."""
        self._recorder, self._checks = recorder, checks

    def write(self, actor: Actor, problems: Sequence[Problem], key: Array, places_P: np.ndarray) -> Practised:
        """Practice of every problem."""
        written = self._sample(actor, None, len(problems), writing(actor))
        shape, lengths = written.tokens.shape[:2], actor.method.lengths
        arrays = PracticeArrays(
            written,
            sequences(*shape, self._checks, lengths.check),
            sequences(*shape, lengths.practice),
            struct(shape, jnp.bool_),
        )
        placed = self._spread(arrays)
        return Practised(PracticeSets([], placed), self._spread(struct(shape)), placed)

    def references(self, actor: Actor, problems: Sequence[Problem]) -> Solutions:
        """The problems' own solutions."""
        lengths = actor.method.lengths
        asked = sequences(len(problems), 1, lengths.prompt + lengths.solution)
        return Solutions(self._spread(Weighed(asked, struct((len(problems), 1)))), None)

    def siblings(
        self, actor: Actor, problems: Sequence[Problem], count: int, key: Array, places_P: np.ndarray
    ) -> Weighed:
        """And others of their families."""
        lengths = actor.method.lengths
        length = max(lengths.practice, lengths.prompt + lengths.solution)
        shape = (len(problems), 1 + count)
        return self._spread(Weighed(sequences(*shape, length), struct(shape)))

    def permuted(self, result: Attribution, practised: Practised, key: Array, places_P: np.ndarray) -> Attribution:
        """Of the same shapes."""
        return result

    def attempts(
        self, actor: Actor, adapters: PyTree, problems: Sequence[Problem], key: Array, samples: int, places: np.ndarray
    ) -> Future[tuple[Solutions, np.ndarray]]:
        """Sampled solutions."""
        phase = self._recorder.phase
        self._recorder.phase = phase if adapters is not None else f"{phase} un-adapted"
        written = self._sample(actor, adapters, len(problems), attempting(actor, samples))
        self._recorder.phase = phase
        each = struct((len(problems), samples))
        found: Future[Any] = Future()
        found.set_result((Solutions(self._spread(Weighed(written, each)), None), self._spread(each)))
        return found

    def share(self, weighed: Weighed) -> Weighed:
        """They lie there."""
        return weighed

    def _sample(self, actor: Actor, adapters: PyTree, problems: int, spec: SamplingSpec) -> Sequences:
        length, model = actor.method.lengths.prompt, actor.method.model
        config = sampling.without_gradient(model)
        params, layers = actor.params, adapters
        if layers is not None:
            layers = jax.tree.map(lambda x: struct((x.shape[1], x.shape[0], *x.shape[2:]), x.dtype), layers)
            layers = self._recorder.placed(layers, lambda _: _by_layer(sharding.adapter_specs(adapters)))
        if not config.scan_layers:
            params, layers = jax.eval_shape(partial(sampling.unstack, config), params, layers)
        each = struct((problems,), jnp.int32)
        prompts = self._spread(Prompts(struct((problems, length), jnp.int32), each, each))
        settings = (config, params, layers, struct(()))
        state = programs.PREFILL(*settings, prompts, key(), spec.static())
        programs.DECODE(*settings, struct((), jnp.int32), state, spec.static())
        return sequences(problems, spec.samples, length + spec.max_new_tokens)

    def _spread(self, tree: PyTree) -> PyTree:
        return self._recorder.placed(tree, programs.SPREAD)


def lower(
    method: Method,
    config: OuterConfig,
    base: PyTree,
    checks: int,
    problems: int,
    documents: Sequences,
    mesh: Mesh | None = None,
) -> list[Planned]:
    """All programs of one outer step that grow with the model.

    Args:
      method: the method.
      config: what is optimised.
      base: the parameters' shapes.
      checks: how many checks the task has.
      problems: P.
      documents: what replay and KL read, [B, T].
      mesh: where arrays are to lie; None for one device. Lower and compile with it set (`jax.set_mesh`).
    """
    state = make_state(Actor(base, method), config, checks)
    with programs.recording(mesh) as recorder:

        @contextlib.contextmanager
        def timer(phase: str) -> Iterator[None]:
            recorder.phase = phase
            yield

        base = recorder.placed(base, sharding.specs)
        trained, opt_state = (recorder.placed(tree, sharding.specs) for tree in (state.params, state.opt_state))
        actor = Actor(theta.compose(config.outer, base, trained), method)
        eta = recorder.placed(state.eta, P())
        count = problems // config.parts
        part = Part([NOBODY] * count, np.arange(count), problems)
        keys = Keys(*[key()] * 4)
        worked = step.work(actor, config, eta, part, keys, Shapes(recorder, checks), Hooks(timer))
        if config.generator_rate:
            data = _update_data(actor, config, worked, problems, recorder, documents)
            programs.GENERATOR(actor.replace(params=trained), config, opt_state, base, data, struct(()), struct(()))
    # Where all is trained a phase reads one of two copies; an adapter lies on the base, which it reads too.
    resting = (base if config.outer is None else (), opt_state)
    found: dict[str, Planned] = {}
    for name, program, args in recorder.calls:
        once = name == programs.GENERATOR.name
        beside: PyTree = () if once else resting
        if name.startswith("solve") and worked.adapted is not None:
            beside = (*resting, worked.adapted)
        times = (found[name].times if name in found else 0) + (1 if once else config.parts)
        found[name] = Planned(name, program, args, times, beside)
    return list(found.values())


def inner_run(adapt: Planned, mesh: Mesh | None = None) -> Planned:
    """The inner run alone, of the program ``adapt``: nothing is scored, nothing kept. No step calls it."""
    actor, _, adapter, practice = adapt.args
    shape = practice.valid_PxM.shape
    scores = Recorder(mesh).placed(Scores(struct(shape), struct(shape), struct(shape[:1])), programs.SPREAD)
    program = programs.Program("inner run", attribution.adapt)
    return Planned("inner run", program, (actor, adapter, scores, practice.examples), 0, adapt.beside)


def make_state(base: Actor, config: OuterConfig, checks: int) -> TrainState:
    """The training state's shapes."""
    return jax.eval_shape(lambda actor, key: init_state(actor, config, checks, key), base, key())


NOBODY = Problem("", "", (), 0, -1)
"""A problem of which only the shapes are known."""


def _update_data(
    actor: Actor, config: OuterConfig, worked: Worked, problems: int, recorder: Recorder, documents: Sequences
) -> UpdateData:
    """What the model's update reads, of all parts."""
    sampled = jax.eval_shape(partial(experience, config), worked._replace(problems=()))
    sampled = jax.tree.map(lambda x: struct((x.shape[0] * config.parts, *x.shape[1:]), x.dtype), sampled)
    solve = None
    if config.solve_weight and config.mode == "gold":
        solve = sequences(problems, 1, actor.method.lengths.prompt + actor.method.lengths.solution)
    practice, attempts = sampled
    if practice is not None:
        written, log_probs = practice
        practice = Experience(written, log_probs, log_probs)  # an advantage for every log-probability
    return recorder.placed(UpdateData(practice, attempts, solve, documents), programs.SPREAD)


def _by_layer(specs: PyTree) -> PyTree:
    """Of adapters [P, L, ...] as they are read a layer at a time, [L, P, ...]."""
    return jax.tree.map(lambda spec: P(None, *spec[:1], *spec[2:]), specs, is_leaf=lambda x: isinstance(x, P))
