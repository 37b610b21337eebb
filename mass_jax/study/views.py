"""What the report shows of a trained arm beside its accuracy: scores, attributions, practice, examples."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from numpy.typing import ArrayLike

from mass_jax.mass import attribution
from mass_jax.mass.practice import PracticeSets, each_example
from mass_jax.parallel import hosts
from mass_jax.reporting import stats
from mass_jax.study.arms import DIRECT, WRITES
from mass_jax.study.evaluator import Evaluator
from mass_jax.tasks.base import KnowsFamily, Practice

CHECKED_RATES = {"sgd": 0.5, "adam": 0.02}
"""Inner optimisers for which attributions are compared with differences, at rates at which each is used."""
SHOWN = 5
"""Problems that the report shows in full."""


def scorer_view(evaluator: Evaluator, model: str) -> dict[str, list]:
    """Scores, weights, attributions and correctness of every practice example on the evaluator's problems."""
    knowing = evaluator.study.domain.task
    assert isinstance(knowing, KnowsFamily)
    columns: dict[str, list] = {name: [] for name in ("scores", "weights", "attributions", "correct", "task")}
    own, outcomes = evaluator.own_practice(model), evaluator.run(model, WRITES)
    columns_of = zip(own, outcomes, evaluator.attributions(model), strict=True)
    for i, ((batch, practice), outcome, tau) in enumerate(columns_of):
        tau, valid, correct = hosts.whole(
            (
                tau,
                practice.arrays.valid_PxM,
                each_example(knowing.is_correct, batch, practice.texts),
            )
        )
        task = np.broadcast_to(i * len(valid) + np.arange(len(valid))[:, None], valid.shape)
        keep = valid & (task < len(evaluator.problems))
        assert outcome.scores is not None
        rows = (outcome.scores.logits_PxM, outcome.scores.weights_PxM, tau, correct, task)
        for name, row in zip(columns, rows, strict=True):
            columns[name] += np.asarray(row)[keep].tolist()
    return columns


def examples(evaluator: Evaluator, model: str) -> list[dict]:
    """A few problems with their practice, weights and answers before and after."""
    batch, practice = evaluator.own_practice(model)[0]
    before, after = (evaluator.run(model, recipe)[0] for recipe in (DIRECT, WRITES))
    tau = hosts.whole(evaluator.attributions(model)[0])
    task = evaluator.study.domain.task
    assert after.scores is not None
    weights = after.scores.weights_PxM * after.scores.gate_P[:, None]
    written = [
        [
            {
                "text": task.written(problem, e) if e.well_formed else "(malformed)",
                "correct": task.is_correct(problem, e) if isinstance(task, KnowsFamily) else None,
                "on_family": task.is_on_family(problem, e) if isinstance(task, KnowsFamily) else None,
            }
            for e in row
        ]
        for problem, row in zip(batch, practice.texts, strict=True)
    ]
    written, shown = hosts.whole_list(written), evaluator.problems[: len(tau)]
    # One problem a difficulty first, then more, whatever became of them.
    order = sorted(range(len(shown)), key=lambda i: ([p.difficulty for p in shown[:i]].count(shown[i].difficulty), i))
    return [
        {
            "prompt": shown[i].prompt,
            "reference": shown[i].solution,
            "family": shown[i].family,
            "difficulty": shown[i].difficulty,
            "answer_before": before.texts[i],
            "answer_after": after.texts[i],
            "correct_before": bool(before.correct_P[i]),
            "correct_after": bool(after.correct_P[i]),
            "practice": [
                example | {"weight": float(weights[i, j]), "attribution": float(tau[i, j])}
                for j, example in enumerate(written[i])
            ],
        }
        for i in order[:SHOWN]
    ]


def synthesis_quality(evaluator: Evaluator, model: str) -> dict[str, float]:
    """Shares of well-formed, on-family, correct, leaking and distinct examples among the practice of a model.

    Distinct ones are counted among the well-formed of each problem, and so are their distinct pairs of neighbouring
    words (distinct-2, Li et al. 2016, arXiv 1510.03055): those fall where all of them are about one thing.
    """
    task, pairs = evaluator.study.domain.task, evaluator.own_practice(model)
    predicates = {"leak": task.leaks}
    if isinstance(task, KnowsFamily):
        predicates |= {"on_family": task.is_on_family, "correct": task.is_correct}
    columns = {
        name: [each_example(predicate, batch, p.texts) for batch, p in pairs] for name, predicate in predicates.items()
    }
    columns = {"well_formed": [np.asarray(p.arrays.valid_PxM) for _, p in pairs]} | columns
    shares = {name: float(np.mean([hosts.whole(batch) for batch in column])) for name, column in columns.items()}
    rows = [row for _, p in pairs for row in hosts.whole_list(_kept(p.texts))]
    return shares | {"distinct": _distinct(rows), "distinct_2": _distinct_2(rows)}


def _kept(texts: Sequence[Sequence[Practice]]) -> list[list[list[str]]]:
    """What the well-formed examples of each problem say."""
    return [[[e.prompt, e.solution] for e in row if e.well_formed] for row in texts]


def _distinct(rows: Sequence[Sequence[Sequence[str]]]) -> float:
    """The share of different ones among the examples of a problem, over all; 0 of nothing."""
    return share_of(sum(len({*map(tuple, row)}) for row in rows), sum(map(len, rows)))


def _distinct_2(rows: Sequence[Sequence[Sequence[str]]]) -> float:
    """The share of different ones among the pairs of neighbouring words of a problem's examples, over all."""
    words = [[" ".join(example).split() for example in row] for row in rows]
    pairs = [[pair for each in row for pair in itertools.pairwise(each)] for row in words]
    return share_of(sum(len({*row}) for row in pairs), sum(map(len, pairs)))


def share_of(part: float, whole: float) -> float:
    """The share of a share; 0 of nothing."""
    return part / whole if whole else 0.0


def attribution_check(evaluator: Evaluator, model: str) -> dict[str, float | None]:
    """Correlation of exact attributions with float64 central differences on the trained model, SGD and Adam."""
    count = len(hosts.rows(evaluator.study.config.evaluate.checked))  # of every process's problems the first
    learner = evaluator.learner(model, WRITES)
    batch, own = evaluator.own_practice(model)[0]
    batch, own = batch[:count], PracticeSets(own.texts[:count], jax.tree.map(lambda leaf: leaf[:count], own.arrays))
    found = {}
    for optimizer, rate in CHECKED_RATES.items():
        inner = dataclasses.replace(learner.actor.method.inner, optimizer=optimizer, learning_rate=rate)
        changed = learner.actor.replace(method=dataclasses.replace(learner.actor.method, inner=inner))
        tau, oracle = attribution.compare_with_differences(changed, learner.eta, batch, own)
        tau, oracle, counts = hosts.whole((tau, oracle, own.arrays.valid_PxM))
        found[optimizer] = or_none(stats.correlation, tau[counts], oracle[counts])
    return found


def or_none(statistic: Callable[..., float], *columns: ArrayLike) -> float | None:
    """The statistic, or None where there is nothing to compute it from (a generator that writes only garbage)."""
    try:
        value = statistic(*columns)
    except ValueError:
        return None
    return None if np.isnan(value) else value
