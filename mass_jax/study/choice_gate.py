"""The gate of a domain with a choice: before anything is meta-learned, can a generator learn to choose its topic?

Measured on validation families, with the base alone:

    (a) the base's practice is seldom on topic, and mostly right where it is
    (b) practice on the hidden topic helps, also where it mentions nothing that is asked
    (c) right practice on any of the topics, without a choice, is worth nothing
    (e) what practice says does not answer the problem: read off without an update, it gains at most a third of what
        the oracle's update gains

(d), that a perfect reward teaches the choice, takes a short meta-training.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mass_jax.adapt.run import Outcome, Recipe, measure, prepare
from mass_jax.mass.actor import Actor
from mass_jax.mass.generator import complete, solving
from mass_jax.mass.packing import mean_log_probs
from mass_jax.mass.practice import PracticeSets, each_example, fitting, pack_practice
from mass_jax.reporting import stats
from mass_jax.study.arms import ARMS
from mass_jax.study.evaluate import base_state
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.study import Study
from mass_jax.tasks.base import KnowsFamily, OffersTopics, Practice, Problem
from mass_jax.types import Array

ROWS = {
    "base": ARMS["base"].recipe,
    "own": ARMS["tt_ss"].recipe,
    "own_right": ARMS["oracle_filter"].recipe,
    "other_problems": ARMS["base_ttt"].recipe,
    "oracle": ARMS["oracle_gold_family"].recipe,
    "oracle_strict": ARMS["oracle_strict"].recipe,
}
ON_TOPIC, RIGHT, ORACLE, STRICT, NOTHING, CARRIED = (0.1, 0.4), 0.6, 0.15, 0.08, 0.03, 1 / 3
"""What the gates ask for: shares, gains as fractions, and (e)'s share of the oracle's gain."""

SURE = float(np.log(0.5))
"""Mean log-probability of what the problem shows, above which practice by which it is predicted is believed."""


def is_open(found: dict[str, Any]) -> dict[str, bool]:
    """Which of the gates a report of `choice_gate` passes; (c) where the gain is small, or its interval holds 0."""
    gain, practice = found["gain"], found["practice"]
    carried = max(each["diff"] for name, each in gain.items() if name.startswith("read_off/own"))
    other, (low, high) = gain["other_problems"]["diff"], gain["other_problems"]["ci95"]
    return {
        "a": ON_TOPIC[0] <= practice["on_topic_of_well_formed"] <= ON_TOPIC[1]
        and practice["right_of_on_topic"] >= RIGHT,
        "b": gain["oracle"]["diff"] >= ORACLE and gain["oracle_strict"]["diff"] >= STRICT,
        "c": abs(other) <= NOTHING or low <= 0 <= high,
        "e": carried <= CARRIED * gain["oracle"]["diff"],
    }


def choice_gate(study: Study, count: int) -> dict[str, Any]:
    """Accuracies on ``count`` validation problems, paired gains over the base, and shares of the base's practice.

    Rows beside `ROWS`: ``any_topic``, adapted to right practice without a choice; and ``read_off``, answers without an
    update, of own and of right practice (``gold``), see `read_off`; and ``best_of_n``, answers without practice, see
    `best_of`.
    """
    assert isinstance(study.domain.task, OffersTopics)
    problems, states = study.splits.validation[:count], {"base": base_state(study)}
    evaluator = Evaluator(study, states, problems, study.config.seed + 2)
    actor, task, batches = study.actor, study.domain.task, evaluator.batches("base")
    outcomes = {name: evaluator.run("base", recipe) for name, recipe in ROWS.items()}
    verdicts = {name: evaluator.correct(found) for name, found in outcomes.items()}
    own, gold = (evaluator.practice("base", ROWS[row]) or [] for row in ("own", "oracle_strict"))
    anything = [_any_topic(actor, batch, study.config.seed) for batch in batches]
    adapted = [_adapted(actor, *each) for each in zip(batches, anything, strict=True)]
    verdicts["any_topic"] = evaluator.unfilled(adapted)
    for name, sets in (("own", own), ("gold", gold)):
        found = [read_off(actor, *each) for each in zip(batches, sets, outcomes["base"], strict=True)]
        for row in found[0]:
            verdicts[f"read_off/{name}/{row}"] = evaluator.unfilled([each[row] for each in found])
    tried = [best_of(actor, batch, jax.random.key(study.config.seed)) for batch in batches]
    for row in tried[0]:
        verdicts[f"best_of_n/{row}"] = evaluator.unfilled([each[row] for each in tried])
    return {
        "accuracy": {name: float(verdict.mean()) for name, verdict in verdicts.items()},
        "gain": {
            name: stats.paired_difference(verdict, verdicts["base"], evaluator.families)
            for name, verdict in verdicts.items()
            if name != "base"
        },
        "practice": quality(task, batches, own),
    }


def quality(task: KnowsFamily, batches: Sequence[Sequence[Problem]], sets: Sequence[PracticeSets]) -> dict[str, float]:
    """Shares: well formed of all texts; on topic of those; right of those on topic; and right of all."""
    valid, topic, right = (
        np.concatenate([each_example(predicate, *each) for each in zip(batches, (s.texts for s in sets), strict=True)])
        for predicate in (lambda problem, example: example.well_formed, task.is_on_family, task.is_correct)
    )
    return {
        "well_formed": float(valid.mean()),
        "on_topic_of_well_formed": float(topic.sum() / max(valid.sum(), 1)),
        "right_of_on_topic": float(right.sum() / max(topic.sum(), 1)),
        "right": float(right.mean()),
    }


def read_off(actor: Actor, problems: Sequence[Problem], sets: PracticeSets, base: Outcome) -> dict[str, np.ndarray]:
    """Verdicts [P] on answers that practice gives without an update, for every way in which it can be read.

    ``best``: of the example that a perfect scorer takes, one that is right; ``vote``: the majority of all right ones;
    ``check``: of the example by which the model predicts best what the problem shows, where it is sure of that;
    ``majority``: of all examples. Where there is none, the base's answer.
    """
    task = actor.task
    assert isinstance(task, OffersTopics)
    right_PxM = each_example(task.is_correct, problems, sets.texts)
    valid_PxM = np.asarray(sets.arrays.valid_PxM)
    check_PxM = _checked(actor, sets)
    first_right, best_check = np.argmax(right_PxM, axis=-1), np.argmax(check_PxM, axis=-1)
    rows = np.arange(len(problems))
    found: dict[str, np.ndarray] = {}
    for way, texts in enumerate(_answers(actor, problems, sets)):
        graded = [task.grade([problem] * len(row), row) for problem, row in zip(problems, texts, strict=True)]
        correct_PxM = np.array([[verdict.correct for verdict in row] for row in graded])
        some, any_right, sure = valid_PxM.any(axis=-1), right_PxM.any(axis=-1), check_PxM.max(axis=-1) > SURE
        found |= {
            f"{way}/best": np.where(any_right, correct_PxM[rows, first_right], base.correct_P),
            f"{way}/vote": np.where(any_right, correct_PxM[rows, _winner(texts, right_PxM)], base.correct_P),
            f"{way}/check": np.where(sure, correct_PxM[rows, best_check], base.correct_P),
            f"{way}/majority": np.where(some, correct_PxM[rows, _winner(texts, valid_PxM)], base.correct_P),
        }
    return found


def best_of(actor: Actor, problems: Sequence[Problem], key: Array) -> dict[str, np.ndarray]:
    """Verdicts [P] on answers without practice: as many solutions are sampled as practice would be, and one is taken.

    ``check``: the one by which the model predicts best what the problem shows; ``majority``: the most frequent answer.
    """
    task, prompts = actor.task, [actor.task.solve_prompt(problem.prompt) for problem in problems]
    texts = complete(actor, None, prompts, key, solving(actor, actor.method.generator.examples, 1.0)).texts
    tried = [
        [fitting(actor, problem, Practice(problem.prompt, text, True)) for text in row]
        for problem, row in zip(problems, texts, strict=True)
    ]
    best = np.argmax(_checked(actor, pack_practice(actor, problems, tried)), axis=-1)
    most = _winner(texts, np.ones((len(texts), len(texts[0])), bool))
    return {
        name: np.array(
            [v.correct for v in task.grade(problems, [row[i] for row, i in zip(texts, chosen, strict=True)])]
        )
        for name, chosen in (("check", best), ("majority", most))
    }


def _checked(actor: Actor, sets: PracticeSets) -> np.ndarray:
    """Mean log-probability of the first check's target, float [P, M]; -inf for malformed practice."""
    valid = np.asarray(sets.arrays.valid_PxM)
    first = jax.tree.map(lambda leaf: leaf[:, :, 0].reshape(-1, leaf.shape[-1]), sets.arrays.checks)
    found = mean_log_probs(actor.method.model, actor.params, None, first)
    return np.where(valid, np.asarray(found).reshape(valid.shape), -np.inf)


def _winner(texts: Sequence[Sequence[str]], counts_PxM: np.ndarray) -> np.ndarray:
    """For every problem an example whose answer is the most frequent among those that count, int [P]."""
    votes = [
        Counter(text for text, counts in zip(*row, strict=True) if counts)
        for row in zip(texts, counts_PxM, strict=True)
    ]
    return np.array(
        [row.index(vote.most_common(1)[0][0]) if vote else 0 for row, vote in zip(texts, votes, strict=True)]
    )


def _answers(actor: Actor, problems: Sequence[Problem], sets: PracticeSets) -> list[list[list[str]]]:
    """For every way of reading, P lists of M greedy answers; an answer to nothing where practice is malformed."""
    task, shape = actor.task, (len(problems), len(sets.texts[0]))
    assert isinstance(task, OffersTopics)
    prompts = [
        task.read_off(problem, example) if example.well_formed else None
        for problem, row in zip(problems, sets.texts, strict=True)
        for example in row
    ]
    ways = next(len(each) for each in prompts if each is not None)
    spec, limit, found = solving(actor, samples=1, temperature=0.0), actor.method.model.context, []
    for way in range(ways):
        asked = [
            task.solve_prompt(problems[i // shape[1]].prompt) if p is None else p[way] for i, p in enumerate(prompts)
        ]
        answers = complete(actor, None, asked, jax.random.key(0), spec, prompt_limit=limit - spec.max_new_tokens).texts
        texts = ["" if p is None else answer[0] for p, answer in zip(prompts, answers, strict=True)]
        found.append([texts[i : i + shape[1]] for i in range(0, len(texts), shape[1])])
    return found


def _any_topic(actor: Actor, problems: Sequence[Problem], seed: int) -> PracticeSets:
    rng, count, task = np.random.default_rng(seed), actor.method.generator.examples, actor.task
    assert isinstance(task, OffersTopics)
    return pack_practice(actor, problems, [list(task.any_practice(problem, count, rng)) for problem in problems])


def _adapted(actor: Actor, problems: list[Problem], sets: PracticeSets) -> np.ndarray:
    ready = prepare(actor, {}, problems, Recipe("own"), sets, jax.random.key(0))
    return measure(actor, problems, ready).correct_P
