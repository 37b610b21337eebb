"""The benchmark of exactness at work: practice, attributions by every estimator, and scorers trained by them."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks.exactness.settings import EXACT, Row
from experiments.benchmarks.exactness.tables import CONTROLS
from mass_jax import metagrad
from mass_jax.adapt.neighbours import Pool
from mass_jax.adapt.run import Recipe, measure, prepare
from mass_jax.adapt.sources import SOURCES, Request
from mass_jax.mass import attribution, inner, scorer, update
from mass_jax.mass.actor import Actor
from mass_jax.mass.attribution import Weighed
from mass_jax.mass.generator import write_practice
from mass_jax.mass.practice import PracticeSets, each_example, on_devices
from mass_jax.mass.scorer import Scores
from mass_jax.mass.state import UNLIMITED, OuterConfig, scorer_optimizer
from mass_jax.metagrad import Estimator, cost
from mass_jax.parallel import hosts
from mass_jax.reporting import stats
from mass_jax.study.arms import WRITES
from mass_jax.tasks.base import KnowsFamily, Problem
from mass_jax.types import AnyArray, Array, Meta, Params, PyTree, Sequences


class Size(NamedTuple):
    """How much is done.

    Attributes:
      problems: of a step.
      batches: of problems that practice is written for; training goes over them again and again.
      held_out: problems that are answered.
      compared: batches of them whose attributions are compared.
    """

    problems: int = 16
    batches: int = 12
    held_out: int = 140
    compared: int = 2


class Practised(NamedTuple):
    """Practice of P problems as a training step reads it.

    Attributes:
      features_PxMxF: what the scorer reads.
      valid_PxM: bool.
      examples: what the inner update trains on.
      asked: the references, which the outer loss weighs.
    """

    features_PxMxF: Array
    valid_PxM: AnyArray
    examples: Sequences
    asked: Weighed


class Data(NamedTuple):
    """What all rows of a seed share.

    Attributes:
      training: practice of training problems.
      problems: the held-out ones.
      written: practice of theirs.
      gold: the oracle's.
      held_out: the written practice, as a training step would read it.
      right_PxM: bool, which of it is right.
    """

    training: Practised
    problems: list[Problem]
    written: PracticeSets
    gold: PracticeSets
    held_out: Practised
    right_PxM: np.ndarray


def practise(actor: Actor, problems: Sequence[Problem], key: Array) -> tuple[PracticeSets, Practised]:
    """What the actor writes for problems, on the host and as a training step reads it."""
    sets, _ = write_practice(actor, problems, key)
    arrays = on_devices(sets)
    asked = hosts.share(attribution.references(actor, problems).weighed)
    return sets, Practised(jax.jit(scorer.features)(actor, arrays), arrays.valid_PxM, arrays.examples, asked)


def make_data(actor: Actor, train: Sequence[Problem], held_out: Sequence[Problem], size: Size, seed: int) -> Data:
    """Problems of both splits, drawn by ``seed``, and what the actor writes for them."""
    rng, key = np.random.default_rng(seed), jax.random.key(seed)

    def written(split: Sequence[Problem], count: int) -> tuple[list[Problem], PracticeSets, Practised]:
        problems = [split[i] for i in rng.permutation(len(split))[:count]]
        return problems, *practise(actor, problems, jax.random.fold_in(key, count))

    training = written(train, size.problems * size.batches)[2]
    problems, sets, read = written(held_out, size.held_out)
    gold = SOURCES["gold"].obtain(Request(actor, problems, key, Pool(actor, train)))
    assert isinstance(actor.task, KnowsFamily), "the sources would not have gold practice"
    return Data(training, problems, sets, gold, read, each_example(actor.task.is_correct, problems, sets.texts))


@partial(jax.jit, static_argnames="estimator")
def attributions(
    actor: Actor, estimator: Estimator, adapter: PyTree, scores: Scores, practised: Practised, key: Array
) -> Meta:
    """The outer loss by weights, [P, M], and by gate, [P], as any estimator has it, those that draw included."""
    problem, config = inner.make_problem(actor), actor.method.inner

    def one(meta: Meta, examples: Sequences, asked: Weighed, key: Array) -> Meta:
        joined = estimator.value_and_grad(problem, lambda adapted: attribution.outer_loss(actor, adapted, asked))
        drawn = () if estimator.needs_cotangent else (key,)
        return joined(adapter, meta, inner.schedule(config, examples), *drawn)[1].meta

    meta_P = {"weights": scores.weights_PxM, "gate": scores.gate_P}
    keys_P = jax.random.split(key, len(practised.valid_PxM))
    return inner.over_problems(config, one, meta_P, practised.examples, practised.asked, keys_P)


@jax.jit
def score(actor: Actor, eta: Params, practised: Practised) -> Scores:
    """Weights and gates."""
    return scorer.apply(actor.method.scorer, eta, *practised[:2])


@jax.jit
def scorer_gradient(actor: Actor, eta: Params, practised: Practised, found: Meta) -> Params:
    """Of the mean outer loss, by attributions."""
    features, valid = practised[:2]
    tau, dgate = (found[name] / len(valid) for name in ("weights", "gate"))
    return scorer.pullback(actor.method.scorer, eta, features, valid, tau, dgate)


def agreement(exact: Meta, found: Meta, valid_PxM: np.ndarray, right_PxM: np.ndarray) -> dict[str, float]:
    """How attributions agree with the exact ones and with what practice is right.

    Args:
      exact: by weights [P, M] and by gate [P].
      found: likewise.
      valid_PxM: bool; other examples do not count.
      right_PxM: bool.

    Returns:
      ``cosine`` and ``rank``, Spearman's correlation, of the attributions within a problem's set, means over problems
      with three valid examples at least; ``gate``, the cosine of the gradients by the gate; ``auc`` within sets of
      telling right practice from wrong; ``largest``, the share of all squared attributions that one problem has.
    """
    ours, theirs = (np.asarray(each["weights"]) for each in (exact, found))
    pairs = [(ours[p][valid], theirs[p][valid]) for p, valid in enumerate(valid_PxM) if valid.sum() >= 3]
    task_PxM = np.broadcast_to(np.arange(len(ours))[:, None], ours.shape)
    force_P = np.sum(theirs**2, axis=-1, where=valid_PxM)
    return {
        "cosine": float(np.mean([cosine(*pair) for pair in pairs])),
        "rank": float(np.mean([stats.correlation(*(tau.argsort().argsort() for tau in pair)) for pair in pairs])),
        "gate": cosine(np.asarray(exact["gate"]), np.asarray(found["gate"])),
        "auc": stats.within_task_auc(-theirs[valid_PxM], right_PxM[valid_PxM], task_PxM[valid_PxM]),
        "largest": float(force_P.max() / force_P.sum()),
    }


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of the angle between two vectors; 0 where one is 0."""
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / norms) if norms else 0.0


class Bench:
    """The rows of one setting and seed."""

    def __init__(self, actor: Actor, config: OuterConfig, size: Size, data: Data, seed: int) -> None:
        """Finds the exact attributions.

        Args:
          actor: the base, with the setting's inner update.
          config: whose scorer rate is used.
          size: how much is done.
          data: of the seed.
          seed: of the scorer, fresh adapters and what estimators draw.
        """
        self.actor, self.config, self.size, self.data, self.key = actor, config, size, data, jax.random.key(seed)
        self.eta = scorer.init(actor.method.scorer, data.training.features_PxMxF.shape[-1], self.key)
        self.exact = self._held_out(metagrad.make(EXACT))

    def measured(self, row: Row, steps: int) -> dict[str, Any]:
        """What is kept of a row beside its name.

        Args:
          row: of `settings`.
          steps: of the exact row's training.
        """
        if row.name == CONTROLS:
            return self._controls()
        estimator = row.estimator
        kept: dict[str, Any] = {}
        ratio = self._operations(estimator) / self._operations(metagrad.make(EXACT))
        if row.gate:
            places, valid_NxM = range(self.size.compared), np.asarray(self.data.held_out.valid_PxM)
            arrays = [self._batch((valid_NxM, self.data.right_PxM), place) for place in places]
            pairs = zip(self.exact, self._held_out(estimator), arrays, strict=True)
            agreed = [agreement(exact, found, *each) for exact, found, each in pairs]
            kept |= {name: float(np.mean([each[name] for each in agreed])) for name in agreed[0]}
        return kept | {"operations": ratio} | (self._trained(row, steps, round(steps / ratio)) if row.trained else {})

    def _controls(self) -> dict[str, float]:
        """Held-out accuracy without a scorer."""
        written, gold = self.data.written, self.data.gold
        answered = {
            "none": self._answered(Recipe(), None),
            "uniform": self._answered(Recipe("own"), written),
            "right": self._answered(Recipe("own", "correct"), written),
            "gold": self._answered(Recipe("gold"), gold),
        }
        return {name: found["accuracy"] for name, found in answered.items()}

    def _trained(self, row: Row, *steps: int) -> dict[str, Any]:
        """Answers after each of these numbers of steps, and the processor's seconds of a step."""
        estimator, answers, seconds = row.estimator, {}, []
        eta, opt_state = self.eta, scorer_optimizer(self.config).init(self.eta)
        for step in range(max(steps)):
            batch, key = self._batch(self.data.training, step), jax.random.fold_in(self.key, 1000 + step)
            began = time.process_time()
            found = jax.block_until_ready(self._attributions(estimator, eta, batch, key))
            seconds.append(time.process_time() - began)
            gradient = scorer_gradient(self.actor, eta, batch, found)
            if not row.gate:
                gradient |= {"gate": 0 * gradient["gate"]}
            eta, opt_state, *_ = update.update_scorer(self.config, eta, opt_state, [gradient], UNLIMITED.scorer)
            if step + 1 in steps:
                answers[step + 1] = self._answered(WRITES, self.data.written, eta)
        return {"seconds": float(np.median(seconds)), "steps": steps, "answers": [answers[count] for count in steps]}

    def _answered(self, recipe: Recipe, sets: PracticeSets | None, eta: Params | None = None) -> dict[str, float]:
        """Held-out accuracy, the mean log-likelihood of references, and the mean gate."""
        ready = prepare(self.actor, eta or self.eta, self.data.problems, recipe, sets, self.key)
        found = measure(self.actor, self.data.problems, ready)
        columns: dict[str, Any] = {"accuracy": found.correct_P, "likelihood": found.log_likelihood_P}
        columns["gate"] = 1.0 if found.scores is None else found.scores.gate_P
        return {name: float(np.mean(column)) for name, column in columns.items()}

    def _held_out(self, estimator: Estimator) -> list[Meta]:
        """Attributions of held-out problems' practice, a batch after the other, at uniform weights and an open gate."""
        keys = enumerate(jax.random.split(self.key, self.size.compared))
        batches = [(self._batch(self.data.held_out, place), key) for place, key in keys]
        return [self._attributions(estimator, self.eta, *each) for each in batches]

    def _attributions(self, estimator: Estimator, eta: Params, practised: Practised, key: Array) -> Meta:
        """Of one batch, from a fresh adapter."""
        fresh_key, drawn_key = jax.random.split(key)
        fresh, scores = attribution.fresh_adapter(self.actor, fresh_key), score(self.actor, eta, practised)
        return attributions(self.actor, estimator, fresh, scores, practised, drawn_key)

    def _operations(self, estimator: Estimator) -> int:
        """Of the products in one batch's attributions."""
        found = partial(self._attributions, estimator, self.eta)
        return cost.count_flops(cost.trace(found, self._batch(self.data.training, 0), self.key)[0]).matmul

    def _batch(self, columns: PyTree, step: int) -> PyTree:
        """Some problems, in their order and again and again."""
        first = step * self.size.problems % len(jax.tree.leaves(columns)[0])
        return jax.tree.map(lambda leaf: leaf[first : first + self.size.problems], columns)
