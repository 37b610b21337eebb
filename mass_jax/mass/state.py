"""What training optimises, how, and all that it changes."""

import math
from typing import Annotated, NamedTuple

import jax
import optax
from jax.sharding import Mesh, NamedSharding
from pydantic import Field
from pydantic.dataclasses import dataclass

from mass_jax.fields import FORBID, Count, CountOrNone, Flag, Number, Positive, Text, Weight, one_of
from mass_jax.mass import scorer, theta
from mass_jax.mass.actor import Actor
from mass_jax.mass.optimizers import OPTIMIZERS, Settings
from mass_jax.mass.rewards import REWARDS
from mass_jax.models import sharding
from mass_jax.models.lora import LoraConfig
from mass_jax.parallel.partition import P
from mass_jax.types import Array, OptState, Params

MODES = ("gold", "verifier")
POINTS = ("scorer", "uniform")


@dataclass(frozen=True, config=FORBID)
class OuterConfig:
    """What is optimised, and how.

    Attributes:
      steps: outer steps of the run, over which the model's rate falls to 0.
      mode: ``gold``: the outer loss is the reference's cross-entropy; ``verifier``: GRPO on sampled solutions.
      practice: whether practice is written and adapted to; without it only the solving loss is left (Solver GRPO).
      sets: practice sets drawn for each problem.
      solutions: S, solutions sampled for each problem, from the adapted and from the un-adapted model (verifier).
      optimizer: of the model, see `optimizers.OPTIMIZERS`.
      generator_rate: the model's rate at the start, for ``normalized`` the length of a step, or with
        ``step_kl`` the most; 0 freezes the model.
      momentum: the share of past gradients in the direction of the model's step.
      epsilon: Adam's, on the model.
      scorer_rate: Adam's rate for the scorer.
      reward: what the generator is rewarded for, see `rewards.REWARDS`.
      attribution_at: where attributions that are rewards are taken: at the ``scorer``'s weights and gate, or at
        ``uniform`` weights and an open gate. The scorer learns from those at its own.
      attribution_weight: weight of L_aux, the generator's policy gradient on its rewards.
      set_weight: weight of the whole set's outcome, against the other sets of the same problem, in each example's
        reward; needs ``sets`` > 1.
      malformed_reward: what a text that cannot be parsed gets, before advantages are centred, against a mean of 0 of
        the others, whose standard deviation is 1; with 0 they are left out.
      solve_weight: gamma, weight of L_solve on the un-adapted model.
      replay_weight: weight of the cross-entropy on documents that do not write practice. It pulls on, where the base
        was not trained to the end.
      kl_weight: weight of KL(base || model) on the same documents. It has no gradient at the base.
      text_kl_weight: weight of KL(model || base) of what the model writes, practice or else attempts, in nats a text:
        beside the rewards that texts get, whose standard deviation is up to 1.
      step_kl: the most nats a text by which the first step moves what was just written, practice or attempts; the
        optimiser's step is shortened to it. It falls as the square of the rate does; 0 for steps as they are. With
        several ``epochs`` each gradient step has an equal share of the length, which is the root of a KL.
      clip: PPO's epsilon.
      epochs: gradient steps on each batch of generations; from the second on the clipping acts.
      parts: in which a step goes over its problems, from writing to attributing; what lies on the devices for a
        problem (adapters, trajectories, caches) does so for one part at a time.
      microbatches: parts that the model's gradient is added up from; only one part's activations are alive at once.
      max_norm: global-norm clip of the model's gradient, before the optimiser.
      credit_scale: in nats a weight, how much of a credit counts fully in the generator's reward, tanh(credit / scale);
        0 for z-scores within each set, whatever their spread (the paper's).
      adapters: fresh adapters, over inner runs from which the generator's credit is averaged.
      siblings: other problems of the same family, whose solutions join the outer loss of the generator's credit
        (gold); they need a domain that knows the family.
      lora_rank: of an outer adapter that is trained in place of the model's parameters, and lies below the inner ones;
        0 to train all parameters.
      lora_targets: a regular expression for the names of the projections that it adapts.
    """

    steps: Count
    mode: Annotated[Text, one_of(MODES)]
    practice: Flag
    sets: Count
    solutions: Count
    optimizer: Annotated[Text, one_of(OPTIMIZERS)]
    generator_rate: Weight
    momentum: Annotated[Weight, Field(lt=1)]
    epsilon: Positive
    scorer_rate: Weight
    reward: Annotated[Text, one_of(REWARDS)]
    attribution_at: Annotated[Text, one_of(POINTS)]
    attribution_weight: Weight
    set_weight: Weight
    malformed_reward: Number
    solve_weight: Weight
    replay_weight: Weight
    kl_weight: Weight
    clip: Positive
    epochs: Count
    parts: Count
    microbatches: Count
    max_norm: Positive
    credit_scale: Weight = 0.0
    text_kl_weight: Weight = 0.0
    step_kl: Weight = 0.0
    adapters: Count = 1
    siblings: CountOrNone = 0
    lora_rank: CountOrNone = 0
    lora_targets: Text = LoraConfig.targets

    def __post_init__(self) -> None:
        if self.set_weight and self.sets < 2:
            raise ValueError(
                f"train.set_weight = {self.set_weight} compares practice sets of one problem, but train.sets = "
                f"{self.sets}: draw 2 or more, or set the weight to 0."
            )
        if self.practice and REWARDS[self.reward].compares_sets and self.sets < 2:
            raise ValueError(
                f"train.reward = {self.reward!r} compares practice sets of one problem, but train.sets = {self.sets}: "
                "draw 2 or more."
            )
        if self.mode == "verifier" and self.solutions < 2:
            raise ValueError(
                f"train.solutions = {self.solutions}: GRPO compares a problem's solutions with each other; with "
                "train.mode = 'verifier' sample 2 or more."
            )
        if self.mode == "verifier" and self.practice and self.siblings:
            raise ValueError(
                f"train.siblings = {self.siblings} adds references to the outer loss, which train.mode = 'verifier' "
                "makes of sampled solutions: choose 'gold', or give 0."
            )
        sampled = self.attribution_weight if self.practice else 0.0
        sampled = sampled or (self.solve_weight if self.mode == "verifier" else 0.0)
        if self.step_kl and self.generator_rate and not sampled:
            raise ValueError(
                f"train.step_kl = {self.step_kl} is of texts that the model learns from, and there are none with "
                f"train.mode = {self.mode!r}, train.practice = {self.practice}, train.attribution_weight = "
                f"{self.attribution_weight} and train.solve_weight = {self.solve_weight}: give 0, and with it a "
                "train.generator_rate that suits the base."
            )
        if not self.practice and not self.generator_rate:
            raise ValueError(
                "train.practice = False leaves the scorer nothing to learn, and train.generator_rate = 0 the model: "
                "turn practice on, or give a rate above 0."
            )

    @property
    def outer(self) -> LoraConfig | None:
        """The outer adapter; None where all parameters are trained."""
        return LoraConfig(self.lora_rank, self.lora_targets) if self.lora_rank else None


class TrainState(NamedTuple):
    """Everything that training changes.

    Attributes:
      params: what is trained of theta, generator and solver; see `theta.compose`.
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


class Trained(NamedTuple):
    """What answers need of a `TrainState`; its optimisers' moments alone are twice the model.

    Attributes:
      params: theta, generator and solver.
      eta: the scorer.
    """

    params: Params
    eta: Params


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
    """Clipping, then ``config.optimizer``; the weights of a pretrained model are not decayed."""
    rate = optax.linear_schedule(config.generator_rate, 0.0, config.steps * config.epochs)
    make = OPTIMIZERS[config.optimizer]
    return optax.chain(
        optax.clip_by_global_norm(config.max_norm), make(Settings(rate, config.momentum, config.epsilon))
    )


def scorer_optimizer(config: OuterConfig) -> optax.GradientTransformation:
    """Adam."""
    return optax.adam(config.scorer_rate)


def init_state(actor: Actor, config: OuterConfig, checks: int, key: Array) -> TrainState:
    """Training starts from a pretrained actor and a scorer, of ``checks`` checks, that gives every example weight 1."""
    scorer_key, key = jax.random.split(key)
    eta = scorer.init(actor.method.scorer, scorer.feature_count(actor.method, checks), scorer_key)
    params = theta.start(config.outer, actor.params, jax.random.fold_in(scorer_key, 1))
    return TrainState(params, model_optimizer(config).init(params), eta, scorer_optimizer(config).init(eta), key)


def for_answers(config: OuterConfig, base: Params, state: TrainState | Trained) -> Trained:
    """What answers need of the state, of which the parameters may be an adapter of ``base``."""
    return Trained(theta.compose(config.outer, base, state.params), state.eta)


def shardings(mesh: Mesh, state: TrainState) -> TrainState:
    """Where every leaf lies on a mesh: the model and its optimiser by rule, all else on every device."""
    whole = jax.tree.map(lambda leaf: NamedSharding(mesh, P()), state)
    return whole._replace(
        params=sharding.shardings(mesh, state.params), opt_state=sharding.shardings(mesh, state.opt_state)
    )
