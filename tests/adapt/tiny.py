"""One actor, a few problems, and practice of every source for them, made once."""

from functools import cache

import jax

from mass_jax.adapt import run, sources
from mass_jax.adapt.neighbours import Pool
from mass_jax.adapt.run import Outcome, Recipe
from mass_jax.adapt.sources import Request
from mass_jax.mass.practice import PracticeSets, each_example
from tests.mass import tiny

ACTOR = tiny.make_actor(tiny.make_method(rate=1.0), tiny.LENIENT)
PROBLEMS = tiny.make_problems(4)
POOL = tiny.make_problems(12, seed=5)
KEY = jax.random.key(0)


def obtain(source: str, key: jax.Array = KEY) -> PracticeSets:
    return sources.SOURCES[source].obtain(Request(ACTOR, PROBLEMS, key, Pool(ACTOR, POOL)))


@cache
def once(source: str) -> PracticeSets:
    return obtain(source)


def measure(recipe: Recipe, practice: PracticeSets | None) -> Outcome:
    ready = run.prepare(ACTOR, tiny.make_eta(ACTOR.method), PROBLEMS, recipe, practice, KEY)
    return run.measure(ACTOR, PROBLEMS, ready)


@cache
def mixed() -> PracticeSets:
    """Right, wrong, leaking and malformed examples in one set."""
    sets = tiny.make_practice(PROBLEMS)
    for predicate in (tiny.DOMAIN.task.leaks, tiny.DOMAIN.task.is_correct):
        found = each_example(predicate, PROBLEMS, sets.texts)[sets.arrays.valid_PxM]
        assert found.any() and not found.all(), "the set must tell recipes apart"
    return sets
