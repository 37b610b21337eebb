"""Where practice comes from: one declaration a source, each with its function.

A module of your own adds one by `register`, before an arm names it.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np

from mass_jax.adapt import neighbours
from mass_jax.adapt.neighbours import Pool
from mass_jax.errors import blamed, outside
from mass_jax.fields import enter
from mass_jax.mass.actor import Actor
from mass_jax.mass.episodes import solved
from mass_jax.mass.generator import solving, write_practice
from mass_jax.mass.packing import PracticeArrays
from mass_jax.mass.practice import PracticeSets, fitting, pack_practice
from mass_jax.parallel import hosts
from mass_jax.tasks.base import MALFORMED, KnowsFamily, OffersTopics, Practice, Problem, ShowsExamples
from mass_jax.types import Array

MAJORITY_VOTES = 8

Need: TypeAlias = Literal["family", "topics", "shown", "others", "pool", "scorer"]
"""Something that is needed beside a problem's prompt: its hidden family, topics that it leaves open, solved examples
that it shows, the other problems of a batch, training problems, or a model that was trained with a scorer."""


class Request(NamedTuple):
    """Practice is wanted.

    Attributes:
      actor: writes where practice is written; its method says how many examples, and how long.
      problems: P problems; with several processes, this process's of a batch.
      key: PRNG key; equal keys and actors give equal practice, so that its uses can be compared in pairs.
      pool: training problems.
    """

    actor: Actor
    problems: Sequence[Problem]
    key: Array
    pool: Pool


@dataclasses.dataclass(frozen=True)
class Source:
    """A source of practice.

    Attributes:
      name: by which an arm asks for it.
      obtain: makes the practice of the P problems of a request.
      needs: see `Need`.
    """

    name: str
    obtain: Callable[[Request], PracticeSets]
    needs: frozenset[Need] = frozenset()


def own(request: Request) -> PracticeSets:
    """Written by the actor for the problem."""
    return write_practice(request.actor, request.problems, request.key)[0]


def own_majority(request: Request) -> PracticeSets:
    """Written by the actor, with the majority of several sampled solutions as answers."""
    actor, problems, key, _ = request
    sets = own(request)
    return pack_practice(actor, problems, _majority(actor, problems, sets, key), sets.arrays.written)


def other_problem(request: Request) -> PracticeSets:
    """Written by the actor for a problem of another family in the batch."""
    actor, problems, *_ = request
    sets = own(request)
    partners = _partners(hosts.whole_list([problem.family for problem in problems]))
    examples = hosts.whole_list([[dataclasses.astuple(e) for e in row] for row in sets.texts])
    places = hosts.rows(hosts.whole_count(len(problems)))
    # What fits beside the problem that it was written for may not fit beside this one.
    rows = [
        [fitting(actor, problem, Practice(*example)) for example in examples[partners[place]]]
        for problem, place in zip(problems, places, strict=True)
    ]
    return pack_practice(actor, problems, rows)


def random(request: Request) -> PracticeSets:
    """Training problems with their reference solutions."""
    others = request.pool.problems
    orders = [rng.permutation(len(others)) for rng in _generators(request)]
    return from_pool(request, orders)


def nearest(request: Request) -> PracticeSets:
    """Those training problems that are most like the problem, with their reference solutions."""
    pool_NxD = request.pool.vectors
    return from_pool(request, neighbours.nearest(neighbours.embed(request.actor, request.problems), pool_NxD))


def shown(request: Request) -> PracticeSets:
    """The examples that the problem shows, each asked with the others shown."""
    task = request.actor.task
    assert isinstance(task, ShowsExamples)  # see `Recipe.possible`
    return _drawn(request, task.shown_practice)


def any_topic(request: Request) -> PracticeSets:
    """Correct practice without a choice, of whichever of the topics that the problem leaves open."""
    task = request.actor.task
    assert isinstance(task, OffersTopics)  # see `Recipe.possible`
    return _drawn(request, task.any_practice)


def gold(request: Request) -> PracticeSets:
    """Correct practice of the hidden family."""
    return _gold(request, strict=False)


def gold_strict(request: Request) -> PracticeSets:
    """Correct practice of the hidden family, without anything that the problem asks for."""
    return _gold(request, strict=True)


def from_pool(request: Request, orders: Iterable[np.ndarray]) -> PracticeSets:
    """Training problems with their reference solutions, for each problem the first that fit.

    Args:
      request: for P problems.
      orders: P orders of the pool's indices.
    """
    actor, problems, _, pool = request
    pairs = zip(problems, orders, strict=True)
    rows = [_as_practice(actor, problem, (pool.problems[i] for i in order)) for problem, order in pairs]
    return pack_practice(actor, problems, rows)


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source("own", own),
        Source("own_majority", own_majority),
        Source("other_problem", other_problem, frozenset({"others"})),
        Source("random", random, frozenset({"pool"})),
        Source("nearest", nearest, frozenset({"pool"})),
        Source("shown", shown, frozenset({"shown"})),
        Source("any_topic", any_topic, frozenset({"topics"})),
        Source("gold", gold, frozenset({"family"})),
        Source("gold_strict", gold_strict, frozenset({"family"})),
    )
}


def obtained(name: str, request: Request) -> PracticeSets:
    """The practice of a request, by the source of this name.

    Raises:
      InputError: the source is a plugin's, and fails or makes no such practice; names the plugin.
    """
    obtain = SOURCES[name].obtain
    with blamed(f"practice = {name!r}", obtain.__module__):
        sets = obtain(request)
        if outside(obtain.__module__):
            _check(sets, request)
    return sets


def register(source: Source) -> Source:
    """Adds a source, so that an arm can name it; returns it.

    Raises:
      InputError: the name is taken, or a field has another type than it says.
    """
    return enter(SOURCES, Source, source, "a source of practice")


def _check(sets: object, request: Request) -> None:
    """Looks whether it is the practice of a request.

    Raises:
      ValueError: it is not.
    """
    way_out = "return what mass_jax.mass.practice.pack_practice makes of a list of examples a problem"
    if not isinstance(sets, PracticeSets) or not isinstance(sets.arrays, PracticeArrays):
        raise ValueError(f"it gives {sets!r:.80}, no PracticeSets: {way_out}")
    lengths, checks = request.actor.method.lengths, len(request.actor.task.check_names)
    shape = (len(request.problems), request.actor.method.generator.examples)
    written = (*shape, lengths.prompt + lengths.synthesis)
    asked, read = (*shape, checks, lengths.check), (*shape, lengths.practice)
    found = [np.shape(leaf) for leaf in jax.tree.leaves(sets.arrays)]
    if found != [written] * 2 + [asked] * 2 + [read] * 2 + [shape]:
        raise ValueError(
            f"it gives arrays of the shapes {found} for {shape[0]} problems of {shape[1]} examples: {way_out}"
        )


def _gold(request: Request, strict: bool) -> PracticeSets:
    task = request.actor.task
    assert isinstance(task, KnowsFamily)  # see `Recipe.possible`
    return _drawn(request, partial(task.gold_practice, strict=strict))


def _drawn(request: Request, draw: Callable[[Problem, int, np.random.Generator], Iterable[Practice]]) -> PracticeSets:
    """What a domain draws for every problem: M examples, by a generator of the problem's own."""
    actor, problems, *_ = request
    count = actor.method.generator.examples
    pairs = zip(problems, _generators(request), strict=True)
    return pack_practice(actor, problems, [list(draw(problem, count, rng)) for problem, rng in pairs])


def _generators(request: Request) -> list[np.random.Generator]:
    """One for each problem, so that what it gets does not depend on which process has it."""
    seed = np.asarray(jax.random.key_data(request.key)).astype(np.uint32).tolist()
    places = hosts.rows(hosts.whole_count(len(request.problems)))
    return [np.random.default_rng([*seed, place]) for place in places]


def _as_practice(actor: Actor, problem: Problem, others: Iterable[Problem]) -> list[Practice]:
    """The first M of ``others`` that fit, with their reference solutions."""
    written = (Practice(other.prompt, other.solution, True) for other in others)
    fit = (example for example in written if fitting(actor, problem, example).well_formed)
    chosen = list(itertools.islice(fit, actor.method.generator.examples))
    return chosen + [MALFORMED] * (actor.method.generator.examples - len(chosen))


def _majority(actor: Actor, problems: Sequence[Problem], sets: PracticeSets, key: Array) -> list[list[Practice]]:
    """Replace each solution by the most frequent of several sampled from the un-adapted solver."""
    posed = [Problem(e.prompt, "", (), -1, -1) for row in sets.texts for e in row]
    prompts = [actor.task.solve_prompt(each.prompt) for each in posed]
    votes = solved(actor, None, posed, prompts, jax.random.fold_in(key, 1), solving(actor, MAJORITY_VOTES, 1.0))
    winners = iter([Counter(row).most_common(1)[0][0] for row in votes.texts])

    def with_solution(problem: Problem, example: Practice, solution: str) -> Practice:
        if not example.well_formed:
            return MALFORMED
        # Read anew: a majority for garbage is malformed, and may be longer than a practice sequence.
        written = actor.task.written(problem, Practice(example.prompt, solution, True))
        return fitting(actor, problem, actor.task.parse(problem, written))

    return [
        [with_solution(problem, e, next(winners)) for e in row]
        for problem, row in zip(problems, sets.texts, strict=True)
    ]


def _partners(families: Sequence[Any]) -> list[int]:
    """For every problem, the next one of another family."""
    count = len(families)
    return [
        next(((i + d) % count for d in range(1, count) if families[(i + d) % count] != family), (i + 1) % count)
        for i, family in enumerate(families)
    ]
