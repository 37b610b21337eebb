"""One outer step: synthesise, score and adapt, solve and grade, attribute, update scorer and generator.

Each phase is one jitted function or one host step, and the caller's timer is told its name. The baseline Solver GRPO is
the same step without practice: it keeps only the solving loss.
"""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from mass_jax.mass import attribution, policy, scorer
from mass_jax.mass.attribution import Solutions
from mass_jax.mass.generator import Domain, share, synthesise
from mass_jax.mass.method import Method
from mass_jax.models import lora, partition
from mass_jax.models.partition import P
from mass_jax.tasks.base import Problem
from mass_jax.types import AnyArray, Array, OptState, Params, Sequences

MODES = ("gold", "verifier")
DIAGNOSTICS = "metagrad/"
"""Prefix of the metrics that tell how far the estimator of the meta-gradient can be trusted."""
TAU_STD_FLOOR = 1e-9
"""Attributions are tiny, and their scale is the inner rate's: only a spread at rounding level counts as none."""


@dataclasses.dataclass(frozen=True)
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
      max_norm: global-norm clip of the model's gradient.
    """

    mode: str
    practice: bool
    sets: int
    solutions: int
    generator_rate: float
    scorer_rate: float
    attribution_weight: float
    set_weight: float
    malformed_advantage: float
    solve_weight: float
    replay_weight: float
    kl_weight: float
    clip: float
    epochs: int
    max_norm: float

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"outer.mode = {self.mode!r} is not one of {', '.join(MODES)}.")
        if self.set_weight and self.sets < 2:
            raise ValueError(
                f"outer.set_weight = {self.set_weight} compares practice sets of one problem, but outer.sets = "
                f"{self.sets}: draw 2 or more, or set the weight to 0."
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
    return TrainState(base, model_optimizer(config).init(base), eta, scorer_optimizer(config).init(eta), key)


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
) -> tuple[TrainState, dict[str, Array | float]]:
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
      check: ``check("phase", name=tree)`` is shown what a phase computed, and may raise if it is not finite.

    Returns:
      The new state, and metrics as scalars.
    """
    synthesis_key, adapter_key, attempt_key, solve_key = jax.random.split(jax.random.fold_in(state.key, step), 4)
    metrics: dict[str, Array | float] = {}
    experience: list[Experience] = []
    eta, eta_opt_state = state.eta, state.eta_opt_state

    if config.practice:
        repeated = [problem for problem in problems for _ in range(config.sets)]
        with timer("synthesise"):
            sets, written = synthesise(domain, method, state.params, repeated, synthesis_key)
        with timer("adapt"):
            adapter = lora.init(method.lora, state.params, adapter_key)
            adapted = attribution.score_and_adapt(
                method, state.params, eta, adapter, written.sequences, sets.checks, sets.sequences, sets.valid_PxM
            )
            gold = attribution.references(domain, method, repeated)
            losses = [
                attribution.outer_losses(method, state.params, adapters, gold.sequences, gold.coefficients_PxS)
                for adapters in (_repeat(adapter, len(repeated)), adapted.run.params)
            ]
            check("adapt", losses=losses, weights=adapted.scores.weights_PxM)
        solutions = gold
        if config.mode == "verifier":
            with timer("solve"):
                solutions, _ = attribution.attempts(
                    domain, method, state.params, adapted.run.params, repeated, attempt_key, config.solutions
                )
        with timer("attribute"):
            result = attribution.attribute(
                method, state.params, adapted, sets.sequences, solutions.sequences, solutions.coefficients_PxS
            )
            check("attribute", attribution=result)
        with timer("scorer"):
            eta, eta_opt_state, eta_norm = _update_scorer(
                method, config, eta, eta_opt_state, adapted.features_PxMxF, sets.valid_PxM, result
            )
            check("scorer", scorer=eta)
        alive_P = np.any(solutions.coefficients_PxS != 0, axis=-1)
        rewards = _example_rewards(config, result, solutions, sets.valid_PxM, alive_P)
        if config.attribution_weight:
            experience.append(Experience(written.sequences, written.log_probs_PxM, config.attribution_weight * rewards))
        metrics |= {f"{DIAGNOSTICS}{name}": jnp.mean(value) for name, value in result.diagnostics.items()}
        metrics |= {
            "outer/loss_pre": jnp.mean(losses[0]),
            "outer/loss_post": jnp.mean(losses[1]),
            "outer/dead_groups": 1.0 - alive_P.mean(),
            "synthesis/well_formed": sets.valid_PxM.mean(),
            "synthesis/leak": share(domain.task.leaks, repeated, sets).mean(),
            "scorer/gate": jnp.mean(adapted.scores.gate_P),
            "attribution/std": jnp.mean(jnp.std(result.tau_PxM, axis=-1)),
            "grad_norm/scorer": eta_norm,
        }
        if domain.task.privileged:
            correct = share(domain.task.is_correct, repeated, sets)
            metrics |= {
                "synthesis/on_family": share(domain.task.is_on_family, repeated, sets).mean(),
                "synthesis/correct": correct.mean(),
                "scorer/weight_on_correct": _weight_on(correct, adapted.scores.weights_PxM),
                "attribution/correct_minus_wrong": _correct_minus_wrong(rewards, correct),
            }
        if solutions.verdicts_PxS is not None:
            metrics["outer/accuracy_post"] = solutions.verdicts_PxS.mean()

    solve = None
    if config.solve_weight:
        if config.mode == "gold":
            solve = attribution.references(domain, method, problems)
        else:
            with timer("solve"):
                attempted, log_probs = attribution.attempts(
                    domain, method, state.params, None, problems, solve_key, config.solutions
                )
            metrics["solve/accuracy"] = float(np.mean(attempted.verdicts_PxS != 0))
            metrics["solve/dead_groups"] = 1.0 - np.any(attempted.coefficients_PxS != 0, axis=-1).mean()
            # A coefficient is A / S; the objective averages over problems and samples, so S comes back.
            advantages = config.solve_weight * attempted.coefficients_PxS * config.solutions
            experience.append(Experience(attempted.sequences, log_probs, advantages))

    params, opt_state = state.params, state.opt_state
    if config.generator_rate:
        with timer("generator"):
            for _ in range(config.epochs):
                params, opt_state, updates = update_model(
                    method, config, params, opt_state, base, tuple(experience), solve, documents
                )
            metrics |= updates
            check("generator", parameters=params, losses=updates)
    return TrainState(params, opt_state, eta, eta_opt_state, state.key), metrics


@partial(jax.jit, static_argnames=("method", "config"))
def _update_scorer(
    method: Method,
    config: OuterConfig,
    eta: Params,
    opt_state: OptState,
    features_PxMxF: Array,
    valid_PxM: Array,
    result: attribution.Attribution,
) -> tuple[Params, OptState, Array]:
    problems = valid_PxM.shape[0]
    gradient = scorer.pullback(
        method.scorer, eta, features_PxMxF, valid_PxM, result.tau_PxM / problems, result.dgate_P / problems
    )
    updates, opt_state = scorer_optimizer(config).update(gradient, opt_state)
    return optax.apply_updates(eta, updates), opt_state, optax.tree.norm(gradient)


def _example_rewards(
    config: OuterConfig,
    result: attribution.Attribution,
    solutions: Solutions,
    valid_PxM: np.ndarray,
    alive_P: np.ndarray,
) -> np.ndarray:
    """Advantage of every example, float [P, M]: z-scored -tau, plus the set's outcome; dead groups get none."""
    rewards = np.asarray(policy.group_normalize(-result.tau_PxM, valid_PxM, TAU_STD_FLOOR))
    if config.set_weight:
        if solutions.verdicts_PxS is None:
            outcome_P = -np.asarray(result.loss_P)
        else:
            outcome_P = solutions.verdicts_PxS.mean(axis=-1)
        outcome = outcome_P.reshape(-1, config.sets)
        against_others = policy.group_normalize(outcome, np.ones_like(outcome), attribution.VERDICT_STD_FLOOR)
        rewards = rewards + config.set_weight * np.asarray(against_others).reshape(-1, 1) * valid_PxM
    return np.where(valid_PxM, np.where(alive_P[:, None], rewards, 0.0), config.malformed_advantage)


def model_loss(
    method: Method,
    config: OuterConfig,
    params: Params,
    base: Params,
    experience: tuple[Experience, ...],
    solve: Solutions | None,
    documents: Sequences,
) -> tuple[Array, dict[str, Array]]:
    """L_aux + gamma L_solve + replay + KL (docs/method.md, step 6), and its parts as metrics.

    The ratio of a sequence is exp of its summed log-ratio; its gradient is divided by the sequence's length.
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
        log_probs, length = policy.sequence_log_probs(method, params, solve.sequences)
        parts["solve/loss"] = -jnp.mean(log_probs / length)
        total += config.solve_weight * parts["solve/loss"]
    if config.replay_weight:
        log_probs, length = policy.sequence_log_probs(method, params, documents)
        parts["replay/loss"] = -jnp.sum(log_probs) / jnp.sum(length)
        total += config.replay_weight * parts["replay/loss"]
    if config.kl_weight:
        parts["replay/kl"] = policy.kl_to_base(method, params, base, documents)
        total += config.kl_weight * parts["replay/kl"]
    return total, parts


@partial(jax.jit, static_argnames=("method", "config"))
def update_model(
    method: Method,
    config: OuterConfig,
    params: Params,
    opt_state: OptState,
    base: Params,
    experience: tuple[Experience, ...],
    solve: Solutions | None,
    documents: Sequences,
) -> tuple[Params, OptState, dict[str, Array]]:
    """One step of the model's optimiser on `model_loss`; also its parts and the gradient's norm."""

    def loss(params):
        return model_loss(method, config, params, base, experience, solve, documents)

    gradient, parts = jax.grad(loss, has_aux=True)(params)
    gradient = partition.constrain_tree(gradient)
    updates, opt_state = model_optimizer(config).update(gradient, opt_state)
    params, opt_state = partition.constrain_tree((optax.apply_updates(params, updates), opt_state))
    return params, opt_state, parts | {"grad_norm/generator": optax.tree.norm(gradient)}


def _repeat(adapter: Params, problems: int) -> Params:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (problems, *leaf.shape)), adapter)


def _weight_on(correct_PxM: np.ndarray, weights_PxM: Array) -> Array:
    """Share of all weight that lies on correct examples."""
    return jnp.sum(weights_PxM * correct_PxM) / jnp.maximum(jnp.sum(weights_PxM), 1e-9)


def _correct_minus_wrong(rewards_PxM: np.ndarray, correct_PxM: np.ndarray) -> float:
    """Mean reward of correct examples minus that of wrong ones; 0 where one kind is absent."""
    if correct_PxM.all() or not correct_PxM.any():
        return 0.0
    return float(rewards_PxM[correct_PxM].mean() - rewards_PxM[~correct_PxM].mean())
