"""The phases between a batch of problems and its answers, each a function of what the ones before found.

The steps are those that the tables are made with (`adapt`, `mass`); here they are apart, so that they can be timed,
told of and guarded.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from mass_jax.adapt.learner import Learner
from mass_jax.adapt.run import Ready, offered, solve
from mass_jax.adapt.unadapted import SAMPLED_AT, most_frequent
from mass_jax.adapt.weights import Unweighed, weighed
from mass_jax.guard.verdict import Verdict
from mass_jax.inference.adapted import as_json
from mass_jax.inference.forecast import signs
from mass_jax.inference.forecast.forecast import Forecast, declined
from mass_jax.inference.options import Options
from mass_jax.mass import attribution
from mass_jax.mass.actor import Actor
from mass_jax.mass.episodes import solved
from mass_jax.mass.generator import Told as Hears
from mass_jax.mass.generator import solving, write_practice
from mass_jax.mass.practice import PracticeSets
from mass_jax.mass.scorer import Scores
from mass_jax.parallel import hosts
from mass_jax.tasks.base import Problem, StatesAnswer
from mass_jax.types import AnyArray, PyTree, Sequences

KEY = 0
"""Of all draws; what a problem gets depends on its own seed beside it, and on nothing else in the batch."""


class Guard(Protocol):
    """What stands between practice and update, and between update and answer; see `mass_jax.guard`."""

    def screen(self, actor: Actor, problems: Sequence[Problem], sets: PracticeSets) -> list[list[str]]:
        """Why each example may not count, [P][M]; empty where it may."""

    def hold(
        self, actor: Actor, problems: Sequence[Problem], fresh: PyTree, adapters: PyTree
    ) -> tuple[PyTree, list[Verdict]]:
        """The adapters as they may be used, and a verdict on each.

        Args:
          actor: the un-adapted model.
          problems: P problems, which are asked.
          fresh: the adapter that all runs started from.
          adapters: where they ended, every leaf [P, ...].
        """


class Batch(NamedTuple):
    """What is to be answered, and by whom.

    Attributes:
      learner: model, scorer and recipe.
      actor: the model, with the practice and steps that are asked for.
      guard: on updates; None for none.
      forecast: of what updates gain; None where there is none, or nothing asks for it.
      problems: P problems.
      seeds_P: int32, of each.
      options: of all.
      told: hears practice while it is written, [P][M] texts.
    """

    learner: Learner
    actor: Actor
    guard: Guard | None
    forecast: Forecast | None
    problems: Sequence[Problem]
    seeds_P: np.ndarray
    options: Options
    told: Hears


class Voted(NamedTuple):
    """An answer, and how many of the solutions that voted had which; nothing where none did."""

    text: str
    votes: dict[str, int]


class Found(NamedTuple):
    """What is found out so far of P problems.

    Attributes:
      why: each is not updated; empty where it is, or may still be.
      before: the un-adapted model's answers.
      drawn: the practice that is written, `Options.sets` times.
      sets: the practice that is used, of each problem one of these.
      expected_P: the gain that is expected of the update; None where nothing asks for it.
      left_out: why each example may not count; empty where it may.
      scores: weights and gates, on the host.
      fresh: the adapter that all runs started from.
      adapters: where they ended, [P, ...].
      losses_PxK: the practice loss before each step.
      verdicts: the guard's.
      after: the adapted models' answers.
    """

    why: list[str]
    before: list[Voted]
    drawn: list[PracticeSets] = []  # noqa: RUF012 (never changed)
    sets: PracticeSets | None = None
    expected_P: np.ndarray | None = None
    left_out: list[list[str]] = []  # noqa: RUF012 (never changed)
    scores: Scores | None = None
    fresh: PyTree = None
    adapters: PyTree = None
    losses_PxK: np.ndarray | None = None
    verdicts: list[Verdict] = []  # noqa: RUF012 (never changed)
    after: list[Voted] = []  # noqa: RUF012 (never changed)


class Told(NamedTuple):
    """What a phase is told of.

    Attributes:
      found: with what the phase found.
      shown: of every problem, what JSON can hold.
      tokens_P: that it wrote, or learned from.
    """

    found: Found
    shown: list[dict[str, Any]]
    tokens_P: np.ndarray


Phase = Callable[[Batch, Found], Told]


def answer_before(batch: Batch, found: Found) -> Told:
    """The un-adapted model's answers; and whether an update is declined by these alone."""
    before, tokens_P = _answers(batch, None)
    found = found._replace(before=before)
    if batch.forecast is not None:
        expected_P = batch.forecast.answer.predict(signs.of_answer(_confidence_P(batch, found)))
        found = _declined(batch, found._replace(expected_P=expected_P))
    return Told(found, [{"answer_before": each.text} for each in before], tokens_P)


def write(batch: Batch, found: Found) -> Told:
    """The model's own practice: one set of every problem, or several, of which `weigh` tells the one it chooses."""
    key, drawn = jax.random.key(KEY), list[PracticeSets]()
    for number in range(batch.options.sets):
        own = jax.random.fold_in(key, number) if number else key
        drawn.append(write_practice(batch.actor, batch.problems, own, batch.seeds_P, batch.told)[0])
    tokens_P = sum(np.asarray(sets.arrays.written.target).sum(axis=(1, 2)) for sets in drawn)
    shown = _practice(drawn[0]) if len(drawn) == 1 else [{} for _ in batch.problems]
    return Told(found._replace(drawn=drawn, sets=drawn[0]), shown, np.asarray(tokens_P))


def weigh(batch: Batch, found: Found) -> Told:
    """Weights of what may count, by the recipe; of several sets those of the most promising one.

    Which is that, the scorer's gate says, which costs nothing more; where there is none, the forecast.
    """
    each, several = [_weighed(batch, found, sets) for sets in found.drawn], len(found.drawn) > 1
    if has_gate(batch.learner):
        chosen = _expected(batch, _chosen(each, [one.scores.gate_P for one in each if one.scores is not None]))
    else:
        each = [_expected(batch, one) for one in each]
        chosen = _chosen(each, [one.expected_P for one in each if one.expected_P is not None])
    assert chosen.scores is not None and chosen.sets is not None
    shown = [
        {"weights": weights.tolist(), "gate": float(gate), "left_out": reasons}
        for weights, gate, reasons in zip(*map(np.asarray, chosen.scores[1:]), chosen.left_out, strict=True)
    ]
    if several:
        shown = [practice | own for practice, own in zip(_practice(chosen.sets), shown, strict=True)]
    why = [
        why or ("" if counts_M.any() else "none of its practice may count")
        for why, counts_M in zip(found.why, _counts(chosen), strict=True)
    ]
    return Told(_declined(batch, chosen._replace(why=why)), shown, np.zeros(len(batch.problems), int))


def adapt(batch: Batch, found: Found) -> Told:
    """The inner steps."""
    assert found.sets is not None and found.scores is not None
    fresh = fresh_adapter(batch.actor)
    return learned(batch.actor, found._replace(fresh=fresh), fresh, found.scores, found.sets.arrays.examples)


def fresh_adapter(actor: Actor) -> PyTree:
    """The adapter that changes nothing, at which updates begin."""
    return attribution.fresh_adapter(actor, jax.random.key(KEY))


def learned(actor: Actor, found: Found, start: PyTree, scores: Scores, examples: Sequences) -> Told:
    """The inner steps of all problems on these examples, from one adapter.

    Args:
      actor: its method has as many examples.
      found: so far, with the fresh adapter.
      start: where the steps begin.
      scores: weights [P, M] and gates, on the host.
      examples: [P, M, T], on the host.
    """
    method = actor.method.inner
    adapters, losses = attribution.adapt_and_tell(actor, start, *hosts.share((scores, examples)))
    losses_PxK = hosts.local(losses)
    shown = [{"losses": row.tolist()} for row in losses_PxK]
    # A target ends its sequence: behind it there is padding alone.
    target = np.asarray(examples.target)
    ends = target.shape[-1] - target[..., ::-1].argmax(axis=-1)
    tokens_P = np.where(target.any(axis=-1), ends, 0).sum(axis=-1)
    passes = method.steps if method.schedule == "same" else 1
    return Told(found._replace(adapters=adapters, losses_PxK=losses_PxK), shown, tokens_P * passes)


def guard(batch: Batch, found: Found) -> Told:
    """Updates that go too far are scaled back or refused."""
    nothing = np.zeros(len(batch.problems), int)
    if batch.guard is None:
        return Told(found, [{"guard": None}] * len(batch.problems), nothing)
    adapters, verdicts = batch.guard.hold(batch.actor, batch.problems, found.fresh, found.adapters)
    why = [
        why or (f"the guard refused the update: {verdict.reason}" if verdict.outcome == "refused" else "")
        for why, verdict in zip(found.why, verdicts, strict=True)
    ]
    shown = [{"guard": verdict.as_json()} for verdict in verdicts]
    return Told(found._replace(adapters=adapters, verdicts=verdicts, why=why), shown, nothing)


def answer(batch: Batch, found: Found) -> Told:
    """The adapted models' answers."""
    after, tokens_P = _answers(batch, found.adapters)
    return Told(found._replace(after=after), [{"answer": each.text} for each in after], tokens_P)


UPDATE: dict[str, Phase] = {"write": write, "weigh": weigh, "adapt": adapt, "guard": guard, "answer": answer}
"""The phases of an update, in their order."""


def has_gate(learner: Learner) -> bool:
    """Whether its scorer says of a practice set how much it is worth."""
    return learner.recipe.weights == "scorer" and learner.actor.method.scorer.gate


def signs_of(batch: Batch, found: Found) -> np.ndarray:
    """The signs of what updates will gain, once practice is weighed; see `signs.of_practice`."""
    assert found.sets is not None and found.scores is not None
    return signs.of_practice(batch.actor, _confidence_P(batch, found), found.sets, _counts(found), found.scores)


def _weighed(batch: Batch, found: Found, sets: PracticeSets) -> Found:
    """With this practice: why examples are left out, and weights of the others."""
    learner = batch.learner
    left_out = [["" if example.well_formed else "malformed" for example in row] for row in sets.texts]
    if batch.guard is not None:
        screened = batch.guard.screen(batch.actor, batch.problems, sets)
        left_out = [[a or b for a, b in zip(*rows, strict=True)] for rows in zip(left_out, screened, strict=True)]
    found = found._replace(sets=sets, left_out=left_out)
    given = Unweighed(batch.actor, learner.eta, batch.problems, sets, _counts(found), jax.random.key(KEY))
    return found._replace(scores=weighed(learner.recipe.weights, given))


def _expected(batch: Batch, found: Found) -> Found:
    """With what is expected of the practice, where anything is."""
    if batch.forecast is None or (before_P := found.expected_P) is None:
        return found
    expected_P = batch.forecast.practice.predict(signs_of(batch, found))
    # What is declined already is so by what was expected then, whatever else is in the batch.
    return found._replace(expected_P=np.where([not why for why in found.why], expected_P, before_P))


def _counts(found: Found) -> np.ndarray:
    """Which examples may count, bool [P, M]."""
    return np.array([[not reason for reason in row] for row in found.left_out])


def _chosen(each: Sequence[Found], promise_NxP: Sequence[AnyArray]) -> Found:
    """Of every problem the most promising practice of which something may count."""
    if len(each) == 1:
        return each[0]
    able_NxP = [_counts(one).any(axis=1) for one in each]
    numbers = list(enumerate(np.where(able_NxP, promise_NxP, -np.inf).argmax(axis=0).tolist()))

    def of(*arrays: Any) -> np.ndarray:
        return np.stack([np.asarray(arrays[number])[problem] for problem, number in numbers])

    sets = [one.sets for one in each if one.sets is not None]
    return each[0]._replace(
        sets=PracticeSets(
            [sets[number].texts[problem] for problem, number in numbers],
            jax.tree.map(of, *(one.arrays for one in sets)),
        ),
        left_out=[each[number].left_out[problem] for problem, number in numbers],
        scores=jax.tree.map(of, *(one.scores for one in each)),
        expected_P=jax.tree.map(of, *(one.expected_P for one in each)),
    )


def _declined(batch: Batch, found: Found) -> Found:
    """With the updates declined of which too little is expected."""
    if batch.options.least_gain is None or found.expected_P is None:
        return found
    reasons = declined(found.expected_P, batch.options.least_gain)
    return found._replace(why=[why or own for why, own in zip(found.why, reasons, strict=True)])


def _confidence_P(batch: Batch, found: Found) -> np.ndarray:
    return signs.confidence(batch.actor, batch.problems, [each.text for each in found.before])


def _practice(sets: PracticeSets) -> list[dict[str, Any]]:
    return [{"practice": [as_json(each) for each in row]} for row in sets.texts]


def _answers(batch: Batch, adapters: PyTree) -> tuple[list[Voted], np.ndarray]:
    """The answer to every problem under its adapter, or None for the un-adapted model; and its tokens."""
    actor, problems, votes = batch.actor, batch.problems, batch.options.votes
    prompts = [actor.task.solve_prompt(problem.prompt) for problem in problems]
    if votes == 1:
        ready = Ready(prompts, actor.method.lengths.prompt, adapters, None, choices=offered(actor.task, problems))
        texts = solve(actor, problems, ready)
        return [Voted(text, {}) for text in texts], _tokens(actor, [[text] for text in texts])
    spec = solving(actor, votes, SAMPLED_AT)
    rows = solved(actor, adapters, problems, prompts, jax.random.key(KEY), spec, batch.seeds_P).texts
    task = actor.task
    assert isinstance(task, StatesAnswer)  # `MassAdapter.adapt` has looked
    found = []
    for problem, texts in zip(problems, rows, strict=True):
        answers = [task.answer_of(problem, text) for text in texts]
        found.append(Voted(most_frequent(texts, answers), dict(Counter(answers).most_common())))
    return found, _tokens(actor, rows)


def _tokens(actor: Actor, texts: Sequence[Sequence[str]]) -> np.ndarray:
    """How many tokens every problem's texts have, int [P]."""
    return np.array([sum(len(actor.tokenizer.encode(text)) for text in row) for row in texts], int)
