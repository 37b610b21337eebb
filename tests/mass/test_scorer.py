"""The scorer: its gradient is that of the whole way from eta to the outer loss, and its weights mean what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.mass import attribution, inner, scorer
from mass_jax.mass.attribution import Adapted
from mass_jax.mass.method import NORMALIZATIONS, ScorerConfig
from mass_jax.types import Array, Params
from tests.mass import tiny

PROBLEMS = tiny.make_problems()
adapt = jax.jit(inner.adapt)
ALL_VALID = np.ones((2, 4), bool)
KINDS = ("linear", "verification")


def random_features(kind: str, problems: int = 2) -> tuple[Array, Params, ScorerConfig]:
    method = tiny.make_method(scorer=kind)
    count = scorer.feature_count(method, tiny.CHECKS)
    features = np.random.default_rng(3).normal(size=(problems, 4, count)).astype(np.float32)
    return jnp.asarray(features), tiny.make_eta(method), method.scorer


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_chain_rule_equals_autodiff_of_the_whole(kind: str, normalization: str):
    with jax.enable_x64(True):
        # What adapts does not read the scorer's settings: one method, and so one compilation, for all of them.
        method, config = tiny.make_method(), ScorerConfig(kind, normalization, gate=True, hidden=5)
        actor = tiny.make_actor(method, params=tiny.float64(tiny.make_params()))
        adapter = tiny.float64(tiny.make_adapter(actor.params))
        practice = tiny.make_practice(PROBLEMS).arrays
        solutions, valid = tiny.make_references(PROBLEMS), practice.valid_PxM
        scored = tiny.make_method(scorer=kind)
        features = scorer.features(actor.replace(method=scored), practice)
        eta = tiny.float64(tiny.make_eta(scored, scale=0.3))

        def whole(eta):
            scores = scorer.apply(config, eta, features, valid)
            adapters = attribution.adapt(actor, adapter, scores, practice.examples)
            return jnp.sum(attribution.outer_losses(actor, adapters, solutions))

        expected = jax.grad(whole)(eta)
        scores = scorer.apply(config, eta, features, valid)
        meta = {"weights": scores.weights_PxM, "gate": scores.gate_P}
        adapted = Adapted(adapt(actor, adapter, meta, practice.examples), features, scores)
        result = attribution.attribute(actor, adapted, practice.examples, solutions)
        found = scorer.pullback(config, eta, features, valid, result.tau_PxM, result.dgate_P)
        assert set(found) == {"out", "gate"} | ({"hidden", "bias"} if kind == "verification" else set())
        for name, leaf in expected.items():
            assert np.abs(leaf).max() > 1e-6, f"nothing to compare in {name}"
            np.testing.assert_allclose(found[name], leaf, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("kind", ["uniform", *KINDS])
def test_a_new_scorer_gives_every_valid_example_the_weight_one(kind: str, normalization: str):
    method = tiny.make_method(scorer=kind, normalization=normalization)
    count = scorer.feature_count(method, tiny.CHECKS)
    eta = scorer.init(method.scorer, count, jax.random.key(0))
    features = np.random.default_rng(0).normal(size=(2, 4, count))
    valid = np.array([[True, True, False, True], [True] * 4])
    scores = scorer.apply(method.scorer, eta, features, valid)
    np.testing.assert_allclose(scores.weights_PxM, valid, rtol=1e-6)
    np.testing.assert_array_equal(scores.gate_P, 1.0)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_invalid_examples_get_nothing_and_say_nothing(kind: str, normalization: str):
    features, eta, config = random_features(kind)
    config = ScorerConfig(kind, normalization, gate=True, hidden=config.hidden)
    valid = ALL_VALID.copy()
    valid[0, 2] = False
    scores = scorer.apply(config, eta, features, valid)
    assert scores.weights_PxM[0, 2] == 0
    assert np.all(scores.weights_PxM >= 0)
    if normalization == "softmax":
        np.testing.assert_allclose(scores.weights_PxM.sum(-1), valid.sum(-1), rtol=1e-6)
    elsewhere = scorer.apply(config, eta, features.at[0, 2].set(50.0), valid)
    np.testing.assert_array_equal(elsewhere.weights_PxM, scores.weights_PxM)
    np.testing.assert_array_equal(elsewhere.gate_P, scores.gate_P)
    seen = scorer.apply(config, eta, features.at[0, 1].set(5.0), valid)
    assert np.abs(seen.weights_PxM - scores.weights_PxM)[0, 1] > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_gate_can_decline(kind: str):
    features, eta, config = random_features(kind)
    for bias, expected in ((-30.0, 0.0), (30.0, 2.0)):
        gate = jnp.zeros_like(eta["gate"]).at[-1].set(bias)
        scores = scorer.apply(config, eta | {"gate": gate}, features, ALL_VALID)
        np.testing.assert_allclose(scores.gate_P, expected, atol=1e-6)
    closed = ScorerConfig(kind, gate=False, hidden=config.hidden)
    np.testing.assert_array_equal(scorer.apply(closed, eta, features, ALL_VALID).gate_P, 1.0)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_valid_example_gives_zeros_and_finite_gradients(kind: str, normalization: str):
    features, eta, config = random_features(kind)
    config = ScorerConfig(kind, normalization, gate=True, hidden=config.hidden)
    valid = np.array([[False] * 4, [True] * 4])
    scores = scorer.apply(config, eta, features, valid)
    np.testing.assert_array_equal(scores.weights_PxM[0], 0)
    gradient = scorer.pullback(config, eta, features, valid, jnp.ones((2, 4)), jnp.ones(2))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((scores, gradient)))


def test_the_linear_head_reads_the_last_written_token():
    actor = tiny.make_actor(tiny.make_method(scorer="linear"))
    arrays = tiny.make_practice(PROBLEMS, malformed=False).arrays
    written = arrays.written
    read = jax.jit(lambda t: scorer.features(actor, arrays._replace(written=written._replace(tokens=t))))
    before = read(written.tokens)
    last = written.target.shape[-1] - 1 - np.argmax(written.target[0, 0, ::-1])
    assert last + 1 < written.tokens.shape[-1], "the test needs padding after the last token"
    for position, changes in ((last, True), (last + 1, False)):
        tokens = written.tokens.copy()
        tokens[0, 0, position] = 5
        moved = np.abs(read(tokens) - before).max(axis=-1)
        assert (moved[0, 0] > 1e-3) == changes
        moved[0, 0] = 0
        np.testing.assert_array_equal(moved, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_flows_to_the_model(kind: str):
    practice = tiny.make_practice(PROBLEMS).arrays

    def total(actor):
        return jnp.sum(scorer.features(actor, practice))

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(tiny.make_actor(tiny.make_method(scorer=kind)))):
        np.testing.assert_array_equal(leaf, 0)


def test_checks_that_the_model_finds_likelier_score_otherwise():
    practice = tiny.make_practice(PROBLEMS).arrays
    features = jax.jit(scorer.features)(tiny.make_actor(), practice)
    outcome, centred = np.split(np.asarray(features), 2, axis=-1)
    assert outcome.shape[-1] == tiny.CHECKS
    assert outcome.min() >= -1 and outcome.max() <= 0 and np.ptp(outcome) > 0.05
    valid = practice.valid_PxM[..., None]
    np.testing.assert_allclose((centred * valid).sum(axis=1), 0, atol=1e-5)
