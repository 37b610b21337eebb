"""Problems one after another, a few at a time, or all at once: the same results in the same order."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.mass import inner
from tests.mass import tiny


@pytest.mark.parametrize("at_once", [0, 1, 2, 3, 5, 7, 8, 9])
def test_problems_at_once_changes_nothing(at_once: int):
    config = dataclasses.replace(tiny.make_method().inner, problems_at_once=at_once)
    trees = ({"x": jnp.arange(8.0), "none": None}, jnp.arange(16.0).reshape(8, 2), jnp.arange(8) % 2 == 0)
    alive = []

    def one(tree: dict, pair: jax.Array, odd: jax.Array) -> dict:
        alive.append(None)  # traced once, however many rounds there are
        return {"sum": tree["x"] + pair.sum(), "odd": odd}

    found = inner.over_problems(config, one, *trees)
    np.testing.assert_array_equal(found["sum"], np.arange(8) + np.arange(16).reshape(8, 2).sum(axis=1))
    np.testing.assert_array_equal(found["odd"], np.arange(8) % 2 == 0)
    assert len(alive) == 1


@pytest.mark.parametrize(("at_once", "peak"), [(1, 1), (3, 3), (4, 4), (0, 8)])
def test_no_more_than_asked_for_are_alive(at_once: int, peak: int):
    config = dataclasses.replace(tiny.make_method().inner, problems_at_once=at_once)
    run = partial(inner.over_problems, config, lambda row: jnp.outer(row, row))
    program = jax.make_jaxpr(run)(jnp.ones((8, 5)))
    loop = [eqn for eqn in program.eqns if eqn.primitive.name == "scan"]
    assert len(loop) == (at_once > 0)
    if loop:
        assert loop[0].outvars[0].aval.shape[1:] == (peak, 5, 5)
