"""How practice is weighed: each way differs from its neighbour in the one thing that it says."""

import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.adapt import weights
from mass_jax.adapt.run import Recipe
from mass_jax.adapt.weights import WEIGHTS, Weights
from mass_jax.errors import InputError
from mass_jax.mass.packing import pack
from mass_jax.mass.practice import PracticeSets, each_example
from mass_jax.models import decoder
from mass_jax.tasks.base import Check
from tests.adapt.tiny import KEY, PROBLEMS, measure, mixed
from tests.mass import tiny


def test_strict_weighs_nothing_that_leaks():
    practice = mixed()
    leaks, valid = each_example(tiny.DOMAIN.task.leaks, PROBLEMS, practice.texts), practice.arrays.valid_PxM
    for way in ("uniform", "scorer"):
        found = measure(Recipe("own", way, strict=True), practice).scores.weights_PxM
        np.testing.assert_array_equal(found > 0, valid & ~leaks)
        plain = measure(Recipe("own", way), practice).scores.weights_PxM
        np.testing.assert_array_equal(plain > 0, valid)


def test_the_oracle_filter_weighs_right_examples_only():
    practice = mixed()
    found = measure(Recipe("own", "correct"), practice).scores.weights_PxM
    np.testing.assert_array_equal(found, each_example(tiny.DOMAIN.task.is_correct, PROBLEMS, practice.texts))


def test_the_check_weighs_the_example_that_predicts_the_problem_best():
    practice = mixed()
    valid = practice.arrays.valid_PxM
    found = measure(Recipe("own", "check"), practice).scores.weights_PxM
    assert set(found.ravel().tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(found.sum(axis=1), valid.any(axis=1))
    first = pack(tiny.DOMAIN.tokenizer, _first_checks(practice), tiny.LENGTHS.check, "x", end=False)
    log_probs = np.asarray(decoder.token_log_probs(tiny.MODEL, tiny.make_params(), None, first.tokens))
    mean_PxM = ((log_probs * first.target[:, 1:]).sum(axis=1) / first.target[:, 1:].sum(axis=1)).reshape(valid.shape)
    for row, mean, mask in zip(found, mean_PxM, valid, strict=True):
        assert mean[row.argmax()] == pytest.approx(mean[mask].max(), abs=1e-5)


def _first_checks(practice: PracticeSets) -> list[Check]:
    """The first check of every example; of malformed ones some other text."""
    task = tiny.LENIENT.task
    rows = zip(PROBLEMS, practice.texts, strict=True)
    return [task.checks(p, e)[0] if e.well_formed else Check(p.prompt, p.facts[0]) for p, row in rows for e in row]


def test_shuffled_weights_are_the_scorers_on_other_examples():
    practice = mixed()
    scored, shuffled = (measure(Recipe("own", way), practice).scores for way in ("scorer", "shuffled"))
    valid = practice.arrays.valid_PxM
    assert not np.array_equal(scored.weights_PxM, shuffled.weights_PxM)
    for before, after, mask in zip(scored.weights_PxM, shuffled.weights_PxM, valid, strict=True):
        np.testing.assert_array_equal(np.sort(after[mask]), np.sort(before[mask]))
        assert np.all(after[~mask] == 0)
    np.testing.assert_array_equal(scored.gate_P, shuffled.gate_P)


def test_the_shuffle_is_uniform():
    given = jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0, 9.0]), (3000, 4))
    valid = np.broadcast_to([True, True, True, False], (3000, 4))
    mean = weights._shuffle_valid(KEY, given, valid).mean(axis=0)
    np.testing.assert_allclose(mean, [2, 2, 2, 0], atol=0.06)


def test_a_name_is_taken_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "WEIGHTS", dict(WEIGHTS))
    mine = weights.register(Weights("mine", weights.uniform))
    assert weights.register(mine) is weights.WEIGHTS["mine"]
    with pytest.raises(InputError, match="a way to weigh practice 'mine' already"):
        weights.register(Weights("mine", weights.scorer))
