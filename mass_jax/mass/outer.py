"""One outer step: synthesise, score and adapt, solve and grade, attribute, update scorer and generator.

Each phase is one jitted function or one host step, and the caller's timer is told its name. The baseline Solver GRPO is
the same step without practice: it keeps only the solving loss.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from pydantic.dataclasses import dataclass

from mass_jax.mass import attribution, policy, scorer
from mass_jax.mass.attribution import Solutions
from mass_jax.mass.fields import FORBID, Count, Flag, Number, Positive, Text, Weight, one_of
from mass_jax.mass.generator import Domain, share, synthesise
from mass_jax.mass.method import Method
from mass_jax.models import partition, processes
from mass_jax.models.partition import P
from mass_jax.tasks.base import Problem
from mass_jax.types import AnyArray, Array, OptState, Params, PyTree, Sequences

MODES = ("gold", "verifier")
DIAGNOSTICS = "metagrad/"
"""Prefix of the metrics that tell how far the estimator of the meta-gradient can be trusted."""
TAU_STD_FLOOR = 1e-9
"""Attributions are tiny, and their scale is the inner rate's: only a spread at rounding level counts as none."""


@dataclass(frozen=True, config=FORBID)
class OuterConfig:
    """What is optimised, and how.

    Attributes:
      mode: ``gold``: the outer loss is the reference's cross-entropy; ``verifier``: GRPO on sampled solutions.
      practice: whether practice is written and adapted to; without it only the solving loss is left (Solver GRPO).
      sets: practice sets drawn for each problem.
      solutions: S, solutions sampled for each problem, from the adapted and from the un-adapted model (verifier).
      generator_rate: Adam's rate for the model; 0 freezes it.
      scorer_rate: Adam's rate for the scorer.
      attribution_weight: weight of L_aux, the generator's policy gradient on attributions.
      set_weight: weight of the whole set's outcome, against the other sets of the same problem, in each example's
        reward; needs ``sets`` > 1.
      malformed_advantage: what a text that cannot be parsed gets in place of an attribution.
      solve_weight: gamma, weight of L_solve on the un-adapted model.
      replay_weight: weight of the cross-entropy on pretraining documents.
      kl_weight: weight of KL(base || model) on pretraining documents.
      clip: PPO's epsilon.
      epochs: gradient steps on each batch of generations; from the second on the clipping acts.
      parts: in which a step goes over its problems, from writing to attributing; what lies on the devices for a
        problem (adapters, trajectories, caches) does so for one part at a time.
      microbatches: parts that the model's gradient is added up from; only one part's activations are alive at once.
      max_norm: global-norm clip of the model's gradient.
    """

    mode: Annotated[Text, one_of(MODES)]
    practice: Flag
    sets: Count
    solutions: Count
    generator_rate: Weight
    scorer_rate: Weight
    attribution_weight: Weight
    set_weight: Weight
    malformed_advantage: Number
    solve_weight: Weight
    replay_weight: Weight
    kl_weight: Weight
    clip: Positive
    epochs: Count
    parts: Count
    microbatches: Count
    max_norm: Positive

    def __post_init__(self):
        if self.set_weight and self.sets < 2:
            raise ValueError(
                f"train.set_weight = {self.set_weight} compares practice sets of one problem, but train.sets = "
                f"{self.sets}: draw 2 or more, or set the weight to 0."
            )
        if self.mode == "verifier" and self.solutions < 2:
            raise ValueError(
                f"train.solutions = {self.solutions}: GRPO compares a problem's solutions with each other; with "
                "train.mode = 'verifier' sample 2 or more."
            )
        if not self.practice and not self.generator_rate:
            raise ValueError(
                "train.practice = False leaves the scorer nothing to learn, and train.generator_rate = 0 the model: "
                "turn practice on, or give a rate above 0."
            )


class TrainState(NamedTuple):
    """Everything that training changes.

    Attributes:
      params: theta, generator and solver.
      opt_state: its optimiser's.
      eta: the scorer.
      eta_opt_state: its optimiser's.
      key: typed PRNG key; step t uses ``fold_in(key, t)``.
    """

    params: Params
    opt_state: OptState
    eta: Params
    eta_opt_state: OptState
    key: Array


class Limits(NamedTuple):
    """The largest norm of a gradient that is still followed; above it, or without a finite one, an update is skipped.

    Attributes:
      scorer: of the scorer's.
      generator: of the model's.
    """

    scorer: float = math.inf
    generator: float = math.inf


UNLIMITED = Limits()


class Experience(NamedTuple):
    """Sequences for the clipped policy gradient, with what they were worth.

    Attributes:
      sequences: [..., T].
      log_probs: float [...], when they were sampled.
      advantages: float [...].
    """

    sequences: Sequences
    log_probs: AnyArray
    advantages: AnyArray


Timer = Callable[[str], AbstractContextManager]
Check = Callable[..., None]


def model_optimizer(config: OuterConfig) -> optax.GradientTransformation:
    """Adam with clipping; the weights of a pretrained model are not decayed."""
    return optax.chain(optax.clip_by_global_norm(config.max_norm), optax.adam(config.generator_rate))


def scorer_optimizer(config: OuterConfig) -> optax.GradientTransformation:
    """Adam."""
    return optax.adam(config.scorer_rate)


def init_state(method: Method, config: OuterConfig, base: Params, checks: int, key: Array) -> TrainState:
    """Training starts from the pretrained ``base`` and a scorer that gives every example the weight 1."""
    scorer_key, key = jax.random.split(key)
    eta = scorer.init(method.scorer, scorer.feature_count(method, checks), scorer_key)
    params = jax.tree.map(jnp.copy, base)  # theta is donated to its updates, the base is not
    return TrainState(params, model_optimizer(config).init(base), eta, scorer_optimizer(config).init(eta), key)


def shardings(mesh: Mesh, state: TrainState) -> TrainState:
    """Where every leaf lies on a mesh: the model and its optimiser by rule, all else on every device."""
    whole = jax.tree.map(lambda leaf: NamedSharding(mesh, P()), state)
    return whole._replace(
        params=partition.shardings(mesh, state.params), opt_state=partition.shardings(mesh, state.opt_state)
    )


def outer_step(
    domain: Domain,
    method: Method,
    config: OuterConfig,
    base: Params,
    state: TrainState,
    step: int,
    problems: Sequence[Problem],
    documents: Sequences,
    timer: Timer = lambda phase: nullcontext(),
    check: Check = lambda phase, **trees: None,
    limits: Limits = UNLIMITED,
) -> tuple[TrainState, dict[str, float]]:
    """One step of meta-training.

    Args:
      domain: task and tokenizer.
      method: the method's static description.
      config: what is optimised.
      base: the pretrained parameters, for the KL.
      state: as `init_state` or the previous step returned it.
      step: its number; the only source of fresh randomness.
      problems: a batch of training problems.
      documents: sequences [B, T] for replay and KL.
      timer: ``with timer("phase"): ...``.
      check: ``check("phase", name=tree)`` is shown what a phase computed, to say which of it is not finite.
      limits: of the gradients' norms. An update beyond them, or without a finite gradient, is skipped.

    With several processes, problems and documents are this process's (`processes.rows`).

    Returns:
      The new state, and metrics as scalars. The model and its optimiser's state are donated: the given ones are gone.
    """
    keys = _keys(state.key, processes.put(np.uint32(step)))
    limits = processes.put(jax.tree.map(np.float32, limits))
    metrics: dict[str, float] = {}
    # What a problem draws depends on its place among all problems, not on who has it, nor on the part that it is in.
    places, count = processes.rows(processes.whole_count(len(problems))).astype(np.int32), len(problems)
    found = [
        _part(domain, method, config, state, [problems[i] for i in some], places[some], count, keys, timer, check)
        for some in np.split(np.arange(count), config.parts)
    ]
    experience = _together([part.experience for part in found])
    metrics |= _describe(processes.whole(_together([part.seen for part in found])))
    eta, eta_opt_state = state.eta, state.eta_opt_state
    if config.practice:
        with timer("scorer"):
            gradients = [part.scorer_gradient for part in found]
            eta, eta_opt_state, norm, skipped = _update_scorer(config, eta, eta_opt_state, gradients, limits.scorer)
            metrics |= _floats({"grad_norm/scorer": norm, "skipped/scorer": skipped})
            check("scorer", scorer=eta)

    params, opt_state = state.params, state.opt_state
    if config.generator_rate:
        solve = None
        if config.solve_weight and config.mode == "gold":
            solve = attribution.references(domain, method, problems).sequences
        with timer("generator"):
            data = processes.share((experience, solve, documents))
            for _ in range(config.epochs):
                params, opt_state, updates = update_model(
                    method, config, params, opt_state, base, *data, limits.generator
                )
            metrics |= _floats(updates)
            check("generator", losses=updates)
    return TrainState(params, opt_state, eta, eta_opt_state, state.key), metrics


class _Part(NamedTuple):
    """What is kept of some of a step's problems: nothing that lies on the devices but a gradient of the scorer's size.

    Attributes:
      experience: for the model's update.
      seen: columns for the metrics, a row a problem.
      scorer_gradient: this part's share of it; None without practice.
    """

    experience: tuple[Experience, ...]
    seen: dict[str, Any]
    scorer_gradient: Params | None


def _part(
    domain: Domain,
    method: Method,
    config: OuterConfig,
    state: TrainState,
    problems: Sequence[Problem],
    places_P: np.ndarray,
    count: int,
    keys: tuple[Array, ...],
    timer: Timer,
    check: Check,
) -> _Part:
    """Some of a step's problems, from writing practice to its attribution.

    Args:
      domain: see `outer_step`, as all that is not named here.
      method: likewise.
      config: likewise.
      state: likewise.
      problems: of this part.
      places_P: theirs among all processes' problems of the step.
      count: how many problems this process has in the step.
      keys: for synthesis, the adapter, adapted and un-adapted attempts.
      timer: likewise.
      check: likewise.
    """
    synthesis_key, adapter_key, attempt_key, solve_key = keys
    seen: dict[str, Any] = {}
    experience: list[Experience] = []
    gradient = solving = None

    def solve_unadapted() -> Future[tuple[Solutions, np.ndarray]]:
        with timer("solve"):
            return attribution.attempts(
                domain, method, state.params, None, problems, solve_key, config.solutions, places_P
            )

    if config.practice:
        repeated = [problem for problem in problems for _ in range(config.sets)]
        places = (places_P[:, None] * config.sets + np.arange(config.sets, dtype=np.int32)).reshape(-1)
        with timer("synthesise"):
            sets, written = synthesise(domain, method, state.params, repeated, synthesis_key, places)
            read, checks, practice, valid = processes.share(
                (written.sequences, sets.checks, sets.sequences, sets.valid_PxM)
            )
        with timer("adapt"):
            adapter = attribution.fresh_adapter(method, state.params, adapter_key)
            adapted = attribution.score_and_adapt(
                method, state.params, state.eta, adapter, read, checks, practice, valid
            )
            gold = attribution.references(domain, method, repeated)
            asked = processes.share((gold.sequences, gold.coefficients_PxS))
            losses = [
                attribution.outer_losses(method, state.params, adapters, *asked)
                for adapters in (_repeat(adapter, adapted.features_PxMxF.shape[0]), adapted.run.params)
            ]
            check("adapt", losses=losses, weights=adapted.scores.weights_PxM)
        solutions = gold
        if config.mode == "verifier":
            with timer("solve"):
                grading = attribution.attempts(
                    domain, method, state.params, adapted.run.params, repeated, attempt_key, config.solutions, places
                )
            if config.solve_weight:
                solving = solve_unadapted()  # the devices write while the host grades
            with timer("grade"):
                solutions, _ = grading.result()
            asked = processes.share((solutions.sequences, solutions.coefficients_PxS))
        with timer("attribute"):
            result = attribution.attribute(method, state.params, adapted, practice, *asked)
            check("attribute", attribution=result)
        with timer("scorer"):
            everyone = processes.whole_count(count) * config.sets
            gradient = _scorer_gradient(method, everyone, state.eta, adapted.features_PxMxF, valid, result)
        told = processes.local(
            {
                "before": losses[0],
                "after": losses[1],
                "loss": result.loss_P,
                "tau": result.tau_PxM,
                "weights": adapted.scores.weights_PxM,
                "gate": adapted.scores.gate_P,
                "diagnostics": result.diagnostics,
            }
        )
        alive_P = np.any(solutions.coefficients_PxS != 0, axis=-1)
        rewards = _example_rewards(config, told["loss"], told["tau"], solutions.graded, sets.valid_PxM, alive_P)
        if config.attribution_weight:
            experience.append(Experience(written.sequences, written.log_probs_PxM, config.attribution_weight * rewards))
        seen |= told | {
            "alive": alive_P,
            "valid": sets.valid_PxM,
            "leak": share(domain.task.leaks, repeated, sets),
            "rewards": rewards,
        }
        if domain.task.privileged:
            seen["on_family"] = share(domain.task.is_on_family, repeated, sets)
            seen["correct"] = share(domain.task.is_correct, repeated, sets)
        if solutions.graded is not None:
            seen["adapted"] = solutions.graded

    if config.solve_weight and config.mode == "verifier":
        solving = solving or solve_unadapted()
        with timer("grade"):
            attempted, log_probs = solving.result()
        # A coefficient is A / S; the objective averages over problems and samples, so S comes back.
        advantages = config.solve_weight * attempted.coefficients_PxS * config.solutions
        experience.append(Experience(attempted.sequences, log_probs, advantages))
        seen |= {"unadapted": attempted.graded, "signal": np.any(attempted.coefficients_PxS != 0, axis=-1)}
    return _Part(tuple(experience), seen, gradient)


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
def _keys(key: Array, step: Array) -> tuple[Array, Array, Array, Array]:
    return tuple(jax.random.split(jax.random.fold_in(key, step), 4))


@partial(jax.jit, static_argnames="problems")
def _repeat(adapter: Params, problems: int) -> Params:
    return partition.spread(jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (problems, *leaf.shape)), adapter))


def _describe(seen: dict[str, Any]) -> dict[str, float]:
    """Metrics of what a step saw, of all processes' problems."""
    found: dict[str, Any] = {}
    if "tau" in seen:
        valid, weights = seen["valid"], seen["weights"]
        found = {
            "outer/loss_pre": seen["before"].mean(),
            "outer/loss_post": seen["after"].mean(),
            "outer/dead_groups": 1.0 - seen["alive"].mean(),
            "synthesis/well_formed": valid.mean(),
            "synthesis/leak": seen["leak"].mean(),
            "scorer/gate": seen["gate"].mean(),
            "attribution/std": seen["tau"].std(axis=-1).mean(),
            **{f"{DIAGNOSTICS}{name}": value.mean() for name, value in seen["diagnostics"].items()},
        }
        if "correct" in seen:
            correct = seen["correct"]
            found |= {
                "synthesis/on_family": seen["on_family"].mean(),
                "synthesis/correct": correct.mean(),
                "scorer/weight_on_correct": (weights * correct).sum() / max(weights.sum(), 1e-9),
                "attribution/correct_minus_wrong": _correct_minus_wrong(seen["rewards"], correct),
            }
        if "adapted" in seen:
            found["outer/accuracy_post"], found["outer/not_judged"] = _accuracy(seen["adapted"])
    if "unadapted" in seen:
        found["solve/accuracy"], found["solve/not_judged"] = _accuracy(seen["unadapted"])
        found["solve/dead_groups"] = 1.0 - seen["signal"].mean()
    return _floats(found)


def _accuracy(graded: attribution.Graded) -> tuple[float, int]:
    """The share of right ones among the solutions that are judged, and the number of those that are not."""
    judged = graded.judged_PxS
    return graded.correct_PxS.sum() / max(judged.sum(), 1), (~judged).sum()


def _floats(scalars: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in jax.device_get(scalars).items()}


@partial(jax.jit, static_argnames=("method", "count"))
def _scorer_gradient(
    method: Method, count: int, eta: Params, features_PxMxF: Array, valid_PxM: Array, result: attribution.Attribution
) -> Params:
    """What these problems add to the gradient of the mean outer loss over ``count`` problems."""
    return scorer.pullback(
        method.scorer, eta, features_PxMxF, valid_PxM, result.tau_PxM / count, result.dgate_P / count
    )


@partial(jax.jit, static_argnames="config")
def _update_scorer(
    config: OuterConfig, eta: Params, opt_state: OptState, gradients: Sequence[Params], limit: AnyArray
) -> tuple[Params, OptState, Array, Array]:
    gradient = jax.tree.map(lambda *shares: sum(shares[1:], shares[0]), *gradients)
    return _step(scorer_optimizer(config), eta, opt_state, gradient, limit)


def _example_rewards(
    config: OuterConfig,
    loss_P: np.ndarray,
    tau_PxM: np.ndarray,
    graded: attribution.Graded | None,
    valid_PxM: np.ndarray,
    alive_P: np.ndarray,
) -> np.ndarray:
    """Advantage of every example, float [P, M]: z-scored -tau, plus the set's outcome; dead groups get none."""
    rewards = policy.group_normalize(-tau_PxM, valid_PxM, TAU_STD_FLOOR)
    if config.set_weight:
        outcome_P = -loss_P if graded is None else graded.share_P()
        known_P = np.ones(len(loss_P), bool) if graded is None else np.any(graded.judged_PxS, axis=-1)
        outcome, known = (column.reshape(-1, config.sets) for column in (outcome_P, known_P))
        against_others = policy.group_normalize(outcome, known, attribution.VERDICT_STD_FLOOR)
        rewards = rewards + config.set_weight * against_others.reshape(-1, 1) * valid_PxM
    return np.where(valid_PxM, np.where(alive_P[:, None], rewards, 0.0), config.malformed_advantage)


def model_loss(
    method: Method,
    config: OuterConfig,
    params: Params,
    base: Params,
    experience: tuple[Experience, ...],
    solve: Sequences | None,
    documents: Sequences,
    document_tokens: AnyArray,
) -> tuple[Array, dict[str, Array]]:
    """L_aux + gamma L_solve + replay + KL (docs/method.md, step 6), and its parts as metrics.

    The ratio of a sequence is exp of its summed log-ratio; its gradient is divided by the sequence's length. The means
    over documents are sums over ``document_tokens``, so that the mean over equal parts is that of the whole.
    """
    total, parts = jnp.zeros(()), {}
    for batch in experience:
        log_probs, length = policy.sequence_log_probs(method, params, batch.sequences)
        log_ratio = log_probs - batch.log_probs
        objective = policy.clipped_objective(log_ratio, jnp.asarray(batch.advantages), config.clip) / jnp.maximum(
            length, 1
        )
        total -= jnp.mean(objective)
    if solve is not None:
        log_probs, length = policy.sequence_log_probs(method, params, solve)
        parts["solve/loss"] = -jnp.mean(log_probs / length)
        total += config.solve_weight * parts["solve/loss"]
    if config.replay_weight:
        log_probs, _ = policy.sequence_log_probs(method, params, documents)
        parts["replay/loss"] = -jnp.sum(log_probs) / document_tokens
        total += config.replay_weight * parts["replay/loss"]
    if config.kl_weight:
        parts["replay/kl"] = policy.kl_to_base(method, params, base, documents) / document_tokens
        total += config.kl_weight * parts["replay/kl"]
    return total, parts


def model_gradient(
    method: Method,
    config: OuterConfig,
    params: Params,
    base: Params,
    experience: tuple[Experience, ...],
    solve: Sequences | None,
    documents: Sequences,
) -> tuple[Params, dict[str, Array]]:
    """The gradient of `model_loss`, added up from ``config.microbatches`` parts, and the loss's parts."""
    count = config.microbatches
    tokens = jnp.sum(jnp.asarray(documents.target)[:, 1:]) / count

    def loss(
        params: Params, experience: tuple[Experience, ...], solve: Sequences | None, documents: Sequences
    ) -> tuple[Array, dict[str, Array]]:
        return model_loss(method, config, params, base, experience, solve, documents, tokens)

    gradient = jax.grad(loss, has_aux=True)
    if count == 1:
        found, parts = gradient(params, experience, solve, documents)
        return partition.constrain_tree(found), parts

    def split(leaf: AnyArray, batch_axes: int) -> Array:
        # Row i is in part i mod count: what a device holds is a run of rows, some of which are in every part.
        rows = jnp.asarray(leaf).reshape(-1, count, *leaf.shape[batch_axes:]).swapaxes(0, 1)
        return partition.spread(rows, axis=1)

    def rows(sequences: Sequences) -> Sequences:
        return jax.tree.map(lambda leaf: split(leaf, leaf.ndim - 1), sequences)

    data = (
        tuple(Experience(rows(x.sequences), *(split(leaf, leaf.ndim) for leaf in x[1:])) for x in experience),
        None if solve is None else rows(solve),
        rows(documents),
    )

    def add(total: tuple[Params, dict[str, Array]], part: tuple) -> tuple[tuple[Params, dict[str, Array]], None]:
        found, parts = gradient(params, *part)
        found = (partition.constrain_tree(found), parts)
        return jax.tree.map(lambda x, y: x + y.astype(x.dtype) / count, total, found), None

    # Added up in float32 at least, whatever the parameters are kept in.
    shapes = jax.eval_shape(gradient, params, *jax.tree.map(lambda leaf: leaf[0], data))
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), shapes)
    zero = (partition.constrain_tree(zero[0]), zero[1])
    (found, parts), _ = jax.lax.scan(add, zero, data)
    return jax.tree.map(lambda x, like: x.astype(like.dtype), found, params), parts


@partial(jax.jit, static_argnames=("method", "config"), donate_argnames=("params", "opt_state"))
def update_model(
    method: Method,
    config: OuterConfig,
    params: Params,
    opt_state: OptState,
    base: Params,
    experience: tuple[Experience, ...],
    solve: Sequences | None,
    documents: Sequences,
    limit: AnyArray,
) -> tuple[Params, OptState, dict[str, Array]]:
    """One step of the model's optimiser on `model_loss`, if its gradient's norm is within ``limit``.

    Parameters and optimiser state are donated. Also returns the loss's parts, the gradient's norm and whether the step
    was skipped.
    """
    gradient, parts = model_gradient(method, config, params, base, experience, solve, documents)
    params, opt_state, norm, skipped = _step(model_optimizer(config), params, opt_state, gradient, limit)
    params, opt_state = partition.constrain_tree((params, opt_state))
    return params, opt_state, parts | {"grad_norm/generator": norm, "skipped/generator": skipped}


def _step(
    optimizer: optax.GradientTransformation, params: Params, opt_state: OptState, gradient: Params, limit: AnyArray
) -> tuple[Params, OptState, Array, Array]:
    """One step, unless the gradient's norm is none or above ``limit``; also the norm, and 1 if it was skipped."""
    updates, moved = optimizer.update(gradient, opt_state)
    norm = optax.tree.norm(gradient)
    fine = (norm <= limit) & jnp.isfinite(optax.tree.norm(updates))
    stepped = (optax.apply_updates(params, updates), moved)
    params, opt_state = jax.tree.map(partial(jnp.where, fine), stepped, (params, opt_state))
    return params, opt_state, norm, 1.0 - fine


def _correct_minus_wrong(rewards_PxM: np.ndarray, correct_PxM: np.ndarray) -> float:
    """Mean reward of correct examples minus that of wrong ones; 0 where one kind is absent."""
    if correct_PxM.all() or not correct_PxM.any():
        return 0.0
    return float(rewards_PxM[correct_PxM].mean() - rewards_PxM[~correct_PxM].mean())
