"""One outer step: synthesise, score and adapt, solve and grade, attribute, update scorer and generator.

Each phase is one compiled program or one host step, and the caller's timer is told its name. The baseline Solver GRPO
is the same step without practice: it keeps only the solving loss.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from mass_jax.mass import attribution, programs, theta, update
from mass_jax.mass.actor import Actor
from mass_jax.mass.credit import MARGINAL, CreditAt
from mass_jax.mass.objective import Experience, UpdateData
from mass_jax.mass.record import Record, describe, floats
from mass_jax.mass.rewards import REWARDS
from mass_jax.mass.state import UNLIMITED, Limits, OuterConfig, TrainState
from mass_jax.mass.texts import Texts, Worked, columns, experience, rewarded
from mass_jax.parallel import hosts
from mass_jax.quantities import Metric
from mass_jax.tasks.base import Problem
from mass_jax.types import Array, Params, PyTree, Sequences

Timer = Callable[[str], AbstractContextManager]
Check = Callable[..., None]


class Hooks(NamedTuple):
    """What looks on while a step is made.

    Attributes:
      timer: ``with timer("phase"): ...``.
      check: ``check("phase", name=tree)`` is shown what a phase computed, to say which of it is not finite.
      limits: of the gradients' norms. An update beyond them, or without a finite gradient, is skipped.
    """

    timer: Timer = lambda phase: nullcontext()
    check: Check = lambda phase, **trees: None
    limits: Limits = UNLIMITED


class Keys(NamedTuple):
    """Of one step: for the practice, the fresh adapter, adapted and un-adapted attempts."""

    synthesis: Array
    adapter: Array
    attempt: Array
    solve: Array


class Part(NamedTuple):
    """Some of a step's problems.

    Attributes:
      problems: of this part.
      places_P: theirs among all processes' problems of the step: what a problem draws depends on it alone.
      of: how many problems all processes have in the step.
    """

    problems: Sequence[Problem]
    places_P: np.ndarray
    of: int


def outer_step(
    base: Actor,
    config: OuterConfig,
    state: TrainState,
    step: int,
    problems: Sequence[Problem],
    documents: Sequences,
    hooks: Hooks = Hooks(),  # noqa: B008 (never changed)
) -> tuple[TrainState, Record]:
    """One step of meta-training.

    Args:
      base: the pretrained actor, for the KL; what is trained are the state's parameters, or an adapter of the base's.
      config: what is optimised.
      state: as `init_state` or the previous step returned it.
      step: its number; the only source of fresh randomness.
      problems: a batch of training problems.
      documents: sequences [B, T] for replay and KL.
      hooks: who looks on.

    With several processes, problems and documents are this process's (`hosts.rows`).

    Returns:
      The new state, and what is written down of the step. The model and its optimiser's state are donated: the given
      ones are gone.
    """
    keys = _keys(state.key, hosts.put(np.uint32(step)))
    limits = hosts.put(jax.tree.map(np.float32, hooks.limits))
    actor, texts = base.replace(params=theta.compose(config.outer, base.params, state.params)), Texts()
    everyone = hosts.whole_count(len(problems))
    places = hosts.rows(everyone).astype(np.int32)
    gradients, gathered, sampled = [], [], []
    for rows in np.split(np.arange(len(problems)), config.parts):
        part = Part([problems[i] for i in rows], places[rows], everyone)
        worked = work(actor, config, state.eta, part, keys, texts, hooks)
        # Nothing of a part that lies on the devices is kept, but a gradient of the scorer's size.
        gradients.append(worked.scorer_gradient)
        gathered.append(columns(actor, config, worked, step))
        sampled.append(experience(config, worked))
    found = _together(rewarded(config, gathered))
    record = describe(hosts.whole(found))
    eta, eta_opt_state = state.eta, state.eta_opt_state
    if config.practice:
        with hooks.timer("scorer"):
            eta, eta_opt_state, norm, skipped = update.update_scorer(
                config, eta, eta_opt_state, gradients, limits.scorer
            )
            record.metrics.update(floats({Metric.NORM_SCORER: norm, Metric.SKIPPED_SCORER: skipped}))
            hooks.check("scorer", scorer=eta)
    params, opt_state = state.params, state.opt_state
    if config.generator_rate:
        solve = None
        if config.solve_weight and config.mode == "gold":
            solve = attribution.references(actor, problems).weighed.sequences
        with hooks.timer("generator"):
            practice, attempts = _together(sampled)
            if practice is not None:
                written, log_probs = practice
                practice = Experience(written, log_probs, config.attribution_weight * found.advantages)
            data = hosts.share(UpdateData(practice, attempts, solve, documents))
            kl = hosts.put(np.float32(config.step_kl * ((1 - step / config.steps) / config.epochs) ** 2))
            for _ in range(config.epochs):
                params, opt_state, updates = programs.GENERATOR(
                    base.replace(params=params), config, opt_state, base.params, data, limits.generator, kl
                )
            record.metrics.update(floats(updates))
            hooks.check("generator", losses=updates)
    return TrainState(params, opt_state, eta, eta_opt_state, state.key), record


def work(actor: Actor, config: OuterConfig, eta: Params, part: Part, keys: Keys, texts: Texts, hooks: Hooks) -> Worked:
    """Some of a step's problems, from writing practice to its attribution."""
    timer, check, solving = hooks.timer, hooks.check, None
    found = Worked(part.problems)
    unadapted = partial(texts.attempts, actor, None, part.problems, keys.solve, config.solutions, part.places_P)
    if config.practice:
        repeated = [problem for problem in part.problems for _ in range(config.sets)]
        places = (part.places_P[:, None] * config.sets + np.arange(config.sets, dtype=np.int32)).reshape(-1)
        with timer("synthesise"):
            practised = texts.write(actor, repeated, keys.synthesis, places)
            practice = practised.arrays
        with timer("adapt"):
            fresh = programs.FRESH(actor, keys.adapter)
            adapted = programs.ADAPT(actor, eta, fresh, practice)
            gold = texts.references(actor, repeated)
            asked = texts.share(gold.weighed)
            everywhere = programs.REPEAT(fresh, practice.valid_PxM.shape[0])
            losses = tuple(programs.LOSSES(actor, each, asked) for each in (everywhere, adapted.run.params))
            check("adapt", losses=losses, weights=adapted.scores.weights_PxM)
        solutions = gold
        if config.mode == "verifier":
            with timer("solve"):
                grading = texts.attempts(actor, adapted.run.params, repeated, keys.attempt, config.solutions, places)
            if config.solve_weight:
                with timer("solve"):  # the devices write while the host grades
                    solving = unadapted()
            with timer("grade"):
                solutions, _ = grading.result()
            asked = texts.share(solutions.weighed)
        with timer("attribute"):
            result, credit = programs.ATTRIBUTE(actor, adapted, practice.examples, asked), None
            if REWARDS[config.reward].shuffled:
                result = texts.permuted(result, practised, keys.adapter, places)
            if (at := credit_at(actor, config)) is not None:
                others = [programs.FRESH(actor, keys.adapter, number) for number in range(1, config.adapters)]
                if config.siblings:
                    asked = texts.share(texts.siblings(actor, repeated, config.siblings, keys.adapter, places))
                credit = programs.CREDIT(actor, at, (fresh, *others), adapted.scores, practice, asked)
            check("attribute", attribution=result, credit=credit)
        with timer("scorer"):
            gradient = programs.SCORER(
                actor, part.of * config.sets, eta, adapted.features_PxMxF, practice.valid_PxM, result
            )
        found = Worked(repeated, practised, adapted, losses, solutions, result, credit, gradient, places_P=places)
    if config.solve_weight and config.mode == "verifier":
        if solving is None:
            with timer("solve"):
                solving = unadapted()
        with timer("grade"):
            found = found._replace(attempts=solving.result())
    return found


def credit_at(actor: Actor, config: OuterConfig) -> CreditAt | None:
    """Where the generator's credit is taken; None where it is minus the scorer's attribution, or not asked for."""
    kind = REWARDS[config.reward].credit
    if kind is None or not config.attribution_weight:
        return None
    uniform = config.attribution_at == "uniform" and actor.method.scorer.kind != "uniform"
    apart = kind != MARGINAL or uniform or config.siblings or config.adapters > 1
    return CreditAt(kind, uniform) if apart else None


def _together(parts: Sequence[PyTree]) -> PyTree:
    """Columns of several parts as those of all their problems; what is shorter is filled up with zeros."""

    def one(*columns: np.ndarray) -> np.ndarray:
        if len(columns) == 1:
            return columns[0]
        shapes = np.array([np.shape(column)[1:] for column in columns], int)
        filled = [
            np.pad(column, [(0, 0), *((0, room) for room in shapes.max(axis=0) - shape)])
            for column, shape in zip(columns, shapes, strict=True)
        ]
        return np.concatenate(filled)

    return jax.tree.map(one, *parts)


@jax.jit
def _keys(key: Array, step: Array) -> Keys:
    return Keys(*jax.random.split(jax.random.fold_in(key, step), 4))
