"""A broken assumption is said once, in a sentence."""

import warnings

import jax.numpy as jnp
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import AssumptionWarning, assumptions, warn_if_broken


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(assumptions, "_WARNED", set())


def test_each_estimator_warns_once_and_by_the_mean_over_problems():
    estimator, other = metagrad.make("first_order"), metagrad.make("first_order", scale=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_broken(estimator, {"update_cosine": jnp.asarray([0.2, 0.9]), "update_ratio": 1.0})
    broken = {"update_cosine": jnp.asarray([0.1, 0.2]), "update_ratio": jnp.asarray([1.0, 1.0])}
    with pytest.warns(AssumptionWarning, match="mean cosine is 0.15 .*; use an SGD inner optimiser, or adjoint"):
        warn_if_broken(estimator, broken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_broken(estimator, broken)
    with pytest.warns(AssumptionWarning):
        warn_if_broken(other, broken)


def test_a_diagnostic_that_is_not_finite_is_a_broken_assumption():
    with pytest.warns(AssumptionWarning, match="FirstOrder: update_ratio = nan, so the estimate means nothing"):
        warn_if_broken(metagrad.make("first_order"), {"update_cosine": 1.0, "update_ratio": float("nan")})


@pytest.mark.parametrize("name", [name for name, kind in metagrad.ESTIMATORS.items() if kind.exact])
def test_exact_estimators_have_nothing_to_say(name):
    assert metagrad.make(name).assumption({}) is None
    warn_if_broken(metagrad.make(name), {})
