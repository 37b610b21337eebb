"""The gates of a domain with a choice: before anything is meta-learned, can a generator learn to choose its topic?

Measured on validation families, with the base alone:

    (a) the base's practice is seldom on topic, and mostly right where it is
    (b) practice on the hidden topic helps, also where it mentions nothing that is asked
    (c) right practice on topics of other problems, without a choice, is worth nothing
    (e) what practice says does not answer the problem: read off without an update, it gains at most a third of what
        the oracle's update gains

(d), that a perfect reward teaches the choice, takes a short meta-training.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mass_jax.adapt.run import Recipe
from mass_jax.mass.actor import Actor
from mass_jax.mass.generator import complete, solving
from mass_jax.mass.packing import mean_log_probs
from mass_jax.mass.practice import PracticeSets, each_example, fitting, pack_practice
from mass_jax.parallel import hosts, partition
from mass_jax.reporting import stats
from mass_jax.study.arms import ARMS
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.views import share_of, synthesis_quality
from mass_jax.tasks.base import OffersTopics, Practice, Problem
from mass_jax.types import Array, Sequences

COMPARED = ("base", "tt_ss", "oracle_filter", "base_ttt", "oracle_gold_family", "oracle_strict")
"""Rows of the table that are measured."""
ROWS = {name: ARMS[name].recipe for name in COMPARED} | {"any_topic": Recipe("any_topic")}
ON_TOPIC, RIGHT, ORACLE, STRICT, NOTHING, CARRIED = (0.1, 0.4), 0.6, 0.15, 0.08, 0.03, 1 / 3
"""What the gates ask for: shares, gains as fractions, and (e)'s share of the oracle's gain."""
ASKS = {
    "a": f"{ON_TOPIC[0]:.0%} to {ON_TOPIC[1]:.0%} of the base's well-formed practice are on the hidden topic, and of "
    f"those {RIGHT:.0%} or more are right",
    "b": f"the oracle gains {100 * ORACLE:.0f} points or more, without anything that is asked {100 * STRICT:.0f}",
    "c": f"right practice of other problems gains or loses {100 * NOTHING:.0f} points at most, or its interval holds 0",
    "e": "what the base's practice says, read off without an update, gains at most a third of what the oracle gains",
}
"""Every gate, in words."""

SURE = float(np.log(0.5))
"""Mean log-probability of what the problem shows, above which practice by which it is predicted is believed."""


def gates(rows: Mapping[str, Any], practice: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Whether each gate is open, and by what it was judged.

    Args:
      rows: accuracies, and ``"a-b"`` for differences, as `choice_gate` has them.
      practice: as `views.synthesis_quality` has it.
    """
    gain = {name.removesuffix("-base"): row["diff"] for name, row in rows.items() if name.endswith("-base")}
    topic = share_of(practice["on_family"], practice["well_formed"])
    right = share_of(practice["correct"], practice["on_family"])
    oracle, strict, other = gain["oracle_gold_family"], gain["oracle_strict"], gain["base_ttt"]
    carried = max(diff for name, diff in gain.items() if name.startswith("read_off/own/"))
    low, high = rows["base_ttt-base"]["ci95"]
    judged: dict[str, tuple[dict[str, float], bool]] = {
        "a": ({"on topic": topic, "right of those": right}, ON_TOPIC[0] <= topic <= ON_TOPIC[1] and right >= RIGHT),
        "b": ({"oracle": oracle, "strict oracle": strict}, oracle >= ORACLE and strict >= STRICT),
        "c": ({"other problems": other}, abs(other) <= NOTHING or low <= 0 <= high),
        "e": ({"read off": carried, "oracle": oracle}, carried <= CARRIED * oracle),
    }
    return {name: {"asks": ASKS[name], "found": found, "open": passed} for name, (found, passed) in judged.items()}


def choice_gate(evaluator: Evaluator) -> dict[str, Any]:
    """The base of a domain that `OffersTopics` on the evaluator's problems; see `mass_jax.results.Choice`.

    Rows beside `ROWS` are answers without an update: ``read_off``, of own and of right practice (``gold``), see
    `read_off`; and ``best_of_n``, see `best_of`.
    """
    verdicts = {name: evaluator.correct(evaluator.run("base", recipe)) for name, recipe in ROWS.items()}
    verdicts |= _without_update(evaluator)
    base, families = verdicts["base"], evaluator.families
    rows: dict[str, Any] = {name: stats.accuracy(verdict, families) for name, verdict in verdicts.items()}
    rows |= {
        f"{name}-base": stats.paired_difference(verdict, base, families)
        for name, verdict in verdicts.items()
        if name != "base"
    }
    practice = synthesis_quality(evaluator, "base")
    return {"gates": gates(rows, practice), "rows": rows, "practice": practice}


def _without_update(evaluator: Evaluator) -> dict[str, np.ndarray]:
    """Verdicts on answers without an update, in the order of the problems."""
    actor, key = evaluator.learner("base", Recipe()).actor, jax.random.key(evaluator.study.config.seed)
    practice = {
        name: evaluator.practice("base", ROWS[row]) or [] for name, row in (("own", "tt_ss"), ("gold", "oracle_strict"))
    }
    answered = evaluator.run("base", ROWS["base"])
    columns: list[dict[str, np.ndarray]] = []
    for i, batch in enumerate(evaluator.batches("base")):
        base_P = hosts.mine(answered[i].correct_P)
        found = {
            f"best_of_n/{way}": verdict for way, verdict in best_of(actor, batch, jax.random.fold_in(key, i)).items()
        }
        for name, sets in practice.items():
            read = read_off(actor, batch, sets[i], base_P)
            found |= {f"read_off/{name}/{way}": verdict for way, verdict in read.items()}
        columns.append(hosts.whole(found))
    return {name: evaluator.unfilled([column[name] for column in columns]) for name in columns[0]}


def read_off(
    actor: Actor, problems: Sequence[Problem], sets: PracticeSets, base_P: np.ndarray
) -> dict[str, np.ndarray]:
    """Verdicts [P] on answers that practice gives without an update.

    ``best``: of the example that a perfect scorer takes, one that is right; ``vote``: the majority of all right ones;
    ``check``: of the example by which the model predicts best what the problem shows, where it is sure of that;
    ``majority``: of all examples. Where there is none, the base's answer.

    Args:
      actor: the un-adapted model.
      problems: P problems.
      sets: their practice.
      base_P: verdicts on what the base answers.
    """
    task, texts = actor.task, _answers(actor, problems, sets)
    assert isinstance(task, OffersTopics)
    graded = [task.grade([problem] * len(row), row) for problem, row in zip(problems, texts, strict=True)]
    correct_PxM = np.array([[verdict.correct for verdict in row] for row in graded])
    right_PxM, valid_PxM = each_example(task.is_correct, problems, sets.texts), np.asarray(sets.arrays.valid_PxM)
    check_PxM, rows = _checked(actor, sets), np.arange(len(problems))
    taken = {
        "best": (np.argmax(right_PxM, axis=-1), right_PxM.any(axis=-1)),
        "vote": (_winner(texts, right_PxM), right_PxM.any(axis=-1)),
        "check": (np.argmax(check_PxM, axis=-1), check_PxM.max(axis=-1) > SURE),
        "majority": (_winner(texts, valid_PxM), valid_PxM.any(axis=-1)),
    }
    return {way: np.where(some_P, correct_PxM[rows, place_P], base_P) for way, (place_P, some_P) in taken.items()}


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
    first_PxMxT = jax.tree.map(lambda leaf: np.asarray(leaf)[:, :, 0], sets.arrays.checks)
    return np.where(sets.arrays.valid_PxM, hosts.local(_likelihoods(actor, hosts.share(first_PxMxT))), -np.inf)


@jax.jit
def _likelihoods(actor: Actor, sequences_PxMxT: Sequences) -> Array:
    """Mean log-probability of each target by the un-adapted model, [P, M]."""
    flat = partition.spread(jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), sequences_PxMxT))
    found = mean_log_probs(actor.method.model, actor.params, None, flat)
    return found.reshape(sequences_PxMxT.tokens.shape[:2])


def _winner(texts: Sequence[Sequence[str]], counts_PxM: np.ndarray) -> np.ndarray:
    """For every problem an example whose answer is the most frequent among those that count, int [P]."""
    votes = [
        Counter(text for text, counts in zip(*row, strict=True) if counts)
        for row in zip(texts, counts_PxM, strict=True)
    ]
    return np.array(
        [row.index(vote.most_common(1)[0][0]) if vote else 0 for row, vote in zip(texts, votes, strict=True)]
    )


def _answers(actor: Actor, problems: Sequence[Problem], sets: PracticeSets) -> list[list[str]]:
    """P lists of M greedy answers, read off the practice; the base's own where that is malformed."""
    task, count = actor.task, len(sets.texts[0])
    assert isinstance(task, OffersTopics)
    asked = [
        task.read_off(problem, example) if example.well_formed else task.solve_prompt(problem.prompt)
        for problem, row in zip(problems, sets.texts, strict=True)
        for example in row
    ]
    spec = solving(actor, samples=1, temperature=0.0)
    limit = actor.method.model.context - spec.max_new_tokens
    answers = [row[0] for row in complete(actor, None, asked, jax.random.key(0), spec, prompt_limit=limit).texts]
    return [answers[i : i + count] for i in range(0, len(answers), count)]
