"""What training optimises, how, and all that it changes."""

import math
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from pydantic.dataclasses import dataclass

from mass_jax.fields import FORBID, Count, Flag, Number, Positive, Text, Weight, one_of
from mass_jax.mass import scorer
from mass_jax.mass.actor import Actor
from mass_jax.models import sharding
from mass_jax.parallel.partition import P
from mass_jax.types import Array, OptState, Params

MODES = ("gold", "verifier")


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

    def __post_init__(self) -> None:
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


def model_optimizer(config: OuterConfig) -> optax.GradientTransformation:
    """Adam with clipping; the weights of a pretrained model are not decayed."""
    return optax.chain(optax.clip_by_global_norm(config.max_norm), optax.adam(config.generator_rate))


def scorer_optimizer(config: OuterConfig) -> optax.GradientTransformation:
    """Adam."""
    return optax.adam(config.scorer_rate)


def init_state(actor: Actor, config: OuterConfig, checks: int, key: Array) -> TrainState:
    """Training starts from a pretrained actor and a scorer, of ``checks`` checks, that gives every example weight 1."""
    scorer_key, key = jax.random.split(key)
    eta = scorer.init(actor.method.scorer, scorer.feature_count(actor.method, checks), scorer_key)
    params = jax.tree.map(jnp.copy, actor.params)  # theta is donated to its updates, the base is not
    return TrainState(params, model_optimizer(config).init(actor.params), eta, scorer_optimizer(config).init(eta), key)


def shardings(mesh: Mesh, state: TrainState) -> TrainState:
    """Where every leaf lies on a mesh: the model and its optimiser by rule, all else on every device."""
    whole = jax.tree.map(lambda leaf: NamedSharding(mesh, P()), state)
    return whole._replace(
        params=sharding.shardings(mesh, state.params), opt_state=sharding.shardings(mesh, state.opt_state)
    )
