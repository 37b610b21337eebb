"""Evolution strategies: what they converge to, how fast, and that they differentiate nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import optimizers
from mass_jax.metagrad.base import inner_loop
from mass_jax.types import InnerOptimizer, InnerProblem
from tests.metagrad import problems
from tests.metagrad.problems import flat, quick_jit

D, STEPS = 3, 4
TARGET = np.array([0.5, -1.0, 2.0])
QUADRATIC = InnerProblem(
    lambda params, meta, batch: 0.5 * jnp.sum(batch * (params - meta["w"]) ** 2), optimizers.sgd(0.4)
)
"""φ_K is linear in w and in φ_0, each step reads w: an outer loss that is quadratic in φ_K is so in all of them."""


def arguments(steps=STEPS):
    rng = np.random.default_rng(0)
    return rng.normal(size=D), {"w": rng.normal(size=D)}, rng.uniform(0.5, 1.5, (steps, D))


def outer(params):
    return jnp.sum((params - TARGET) ** 2)


def linear(params):
    return params @ TARGET


def make(name="evolution", **options):
    return metagrad.make(name, **options)


@functools.cache
def exact(outer_loss=outer):
    estimator = metagrad.make("adjoint", init_grad=True)
    result = quick_jit(estimator.value_and_grad(QUADRATIC, outer_loss))(*as_array(arguments()))
    return jax.tree.map(np.asarray, result)


def as_array(tree):
    return jax.tree.map(jnp.asarray, tree)


def over_keys(estimator, keys, outer_loss=outer):
    """Every leaf of the result with a leading axis of ``keys`` independent draws."""
    joined = estimator.value_and_grad(QUADRATIC, outer_loss)
    run = jax.jit(lambda keys: jax.lax.map(lambda key: joined(*arguments(), key), keys))
    return jax.tree.map(np.asarray, run(jax.random.split(jax.random.key(7), keys)))


VARIANTS = {
    "evolution": ("evolution", {}),
    "persistent": ("persistent_evolution", {"window": 2}),
    "persistent-1": ("persistent_evolution", {"window": 1}),
}
each = pytest.mark.parametrize("name", VARIANTS)


@each
def test_the_error_falls_with_the_root_of_the_samples_around_the_exact_gradient(name):
    """On a quadratic, smoothing changes no gradient, however wide it is. The variance that is reported is the true."""
    kind, options = VARIANTS[name]
    value, expected = exact()
    rms = {}
    for samples in (50, 5000):
        estimator = make(kind, samples=samples, sigma=1.0, batch_size=samples, **options)
        values, found = over_keys(estimator, 40)
        np.testing.assert_allclose(values, value, rtol=1e-12)
        errors = found.meta["w"] - expected.meta["w"]
        rms[samples] = np.sqrt(np.mean(errors**2))
        # Unbiased: the mean over 40 draws is within four of its standard errors.
        assert np.all(np.abs(errors.mean(0)) < 4 * errors.std(0) / 40**0.5)
        assert found.diagnostics["variance"].mean() == pytest.approx(rms[samples] ** 2, rel=0.35)
        true_ratio = np.sum(expected.meta["w"] ** 2) / np.mean(np.sum(errors**2, axis=1))
        assert np.mean(found.diagnostics["signal_to_noise"]) == pytest.approx(true_ratio, rel=0.35)
    assert 8 < rms[50] / rms[5000] < 12.5
    assert rms[5000] < 0.1 * np.linalg.norm(expected.meta["w"])


def test_of_a_linear_outer_loss_the_variance_is_the_one_of_the_docstring():
    _, expected = exact(linear)
    samples = 20_000
    _, found = over_keys(make(samples=samples, batch_size=samples), 1, linear)
    total = (D + 1) * np.sum(expected.meta["w"] ** 2) / samples
    assert found.diagnostics["variance"][0] * D == pytest.approx(total, rel=0.05)
    assert found.diagnostics["signal_to_noise"][0] == pytest.approx(samples / (D + 1), rel=0.05)


def test_init_grad_perturbs_the_initial_point_too():
    _, expected = exact()
    samples = 50_000
    _, found = over_keys(make(samples=samples, sigma=0.5, batch_size=samples, init_grad=True), 1)
    error = 4 * found.diagnostics["variance"][0] ** 0.5
    np.testing.assert_allclose(found.meta["w"][0], expected.meta["w"], atol=error)
    np.testing.assert_allclose(found.init[0], expected.init, atol=error)
    assert error < 0.15 * np.abs(expected.init).max()


def test_of_a_cubic_it_is_the_gradient_of_the_smoothed_loss():
    """E (w + σ ε)³ = w³ + 3 σ² w: its derivative is larger by 3 σ²."""
    problem = InnerProblem(lambda p, m, b: jnp.sum(p * b), InnerOptimizer(lambda p: (), lambda g, s, p, m: (m, s)))
    sigma, w, samples = 0.5, 0.8, 50_000
    joined = make(samples=samples, sigma=sigma, batch_size=samples).value_and_grad(problem, lambda p: p**3)
    value, found = jax.jit(joined)(jnp.asarray(0.0), jnp.asarray(w), jnp.ones((1, 1)))
    error = 4 * float(found.diagnostics["variance"]) ** 0.5
    assert error < 0.1
    assert float(found.meta) == pytest.approx(3 * w**2 + 3 * sigma**2, abs=error)
    assert float(value) == pytest.approx(w**3)


@pytest.mark.parametrize("kind", ["evolution", "persistent_evolution"])
def test_on_the_transformer_it_points_where_the_exact_gradient_does(kind):
    problem, outer_loss, args = problems.lora_case("adam", 2)
    scalars = sum(leaf.size for leaf in jax.tree.leaves(args[1]))
    estimator = make(kind, samples=60 * scalars, sigma=1e-3, batch_size=60 * scalars)
    value, found = quick_jit(estimator.value_and_grad(problem, outer_loss))(*args)
    expected_value, expected = problems.meta_gradient(metagrad.make("unroll", init_grad=True), "adam", 2)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    assert problems.cosine(found.meta, expected.meta) > 0.95
    np.testing.assert_allclose(found.meta["log_lr"], expected.meta["log_lr"], rtol=0.1)
    assert estimator.assumption({k: float(v) for k, v in found.diagnostics.items()}) is None


def windows_of(estimator, steps=STEPS):
    """The joined form by hand, and what truncation without accumulated perturbations gives."""
    init, meta, batches = as_array(arguments(steps))
    split = batches.reshape(-1, estimator.window, D)
    step = quick_jit(lambda *args: estimator.step(QUADRATIC, outer, *args))

    def run(key, persistent):
        state = estimator.init_state(QUADRATIC, init, meta)
        total = np.zeros(D)
        for window, window_key in zip(split, jax.random.split(key, len(split)), strict=True):
            if not persistent:
                state = state._replace(perturbation_S=jax.tree.map(jnp.zeros_like, state.perturbation_S))
            state, value, gradient = step(state, meta, window, window_key)
            total = total + gradient.meta["w"]
        return state, value, total

    return run


def test_window_by_window_gives_the_joined_form_and_forgetting_the_perturbations_is_truncation():
    estimator = make("persistent_evolution", samples=20_000, sigma=0.5, window=1, batch_size=20_000)
    run, key = windows_of(estimator), jax.random.key(3)
    value, found = quick_jit(estimator.value_and_grad(QUADRATIC, outer))(*as_array(arguments()), key)
    state, mean_value, total = run(key, persistent=True)
    np.testing.assert_allclose(found.meta["w"], total, rtol=1e-9)
    assert state.params_Sx2.shape == (20_000, 2, D)
    np.testing.assert_allclose(mean_value, np.mean(jax.vmap(outer)(state.params_Sx2.reshape(-1, D))), rtol=1e-12)
    expected_value, expected = exact()
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    error = 5 * float(found.diagnostics["variance"]) ** 0.5
    size = np.abs(expected.meta["w"]).max()
    assert error < 0.1 * size
    np.testing.assert_allclose(total, expected.meta["w"], atol=error)
    # What each window alone sees: the change of the outer loss with this window's meta, the start held fixed.
    _, _, truncated = run(key, persistent=False)
    init, meta, batches = as_array(arguments())
    params, of_windows = init, 0.0
    for window in batches.reshape(-1, 1, D):
        change = lambda w, p=params, b=window: outer(inner_loop(QUADRATIC, p, {"w": w}, b)[0])  # noqa: E731
        of_windows = of_windows + jax.grad(change)(meta["w"])
        params = inner_loop(QUADRATIC, params, meta, window)[0]
    assert np.abs(of_windows - expected.meta["w"]).max() > 4 * error
    np.testing.assert_allclose(truncated, of_windows, atol=2 * error)


def test_particles_keep_their_optimiser_state_from_window_to_window():
    """With next to no perturbation every particle is the plain run; the state holds counts and keys too."""
    adam = optimizers.adam(0.1)
    noisy = InnerOptimizer(
        lambda p: (adam.init(p), jax.random.key(0)),
        lambda g, s, p, m: (lambda new, key: (new[0] + 0.1 * jax.random.normal(key), (new[1], key)))(
            adam.update(g, s[0], p, m), jax.random.split(s[1])[0]
        ),
    )
    problem = QUADRATIC._replace(optimizer=noisy)
    init, meta, batches = as_array(arguments())
    estimator = make("persistent_evolution", samples=2, sigma=1e-12)
    state = estimator.init_state(problem, init, meta)
    step = quick_jit(lambda *args: estimator.step(problem, outer, *args))
    for window in (batches[:1], batches[1:]):
        state, _, _ = step(state, meta, window, jax.random.key(0))
    expected = inner_loop(problem, init, meta, batches)[0]
    np.testing.assert_allclose(state.params_Sx2, np.broadcast_to(expected, (2, 2, D)), rtol=1e-9)
    np.testing.assert_array_equal(state.opt_state_Sx2[0][0].count, STEPS)


@each
def test_the_key_or_the_seed_decides_the_draw_and_how_many_run_side_by_side_does_not(name):
    kind, options = VARIANTS[name]

    def drawn(**more):
        joined = quick_jit(make(kind, samples=6, **options, **more).value_and_grad(QUADRATIC, outer))
        return lambda *key: joined(*as_array(arguments()), *key)[1].meta["w"]

    first, with_key = drawn()(), drawn(seed=5)
    np.testing.assert_array_equal(with_key(jax.random.key(0)), first)
    other = with_key(jax.random.key(1))
    assert np.abs(other - first).min() > 1e-6
    np.testing.assert_array_equal(drawn(seed=1)(), other)
    np.testing.assert_allclose(drawn(batch_size=4)(), first, rtol=1e-9)


@each
def test_vmap_over_problems_equals_one_by_one(name):
    kind, options = VARIANTS[name]
    joined = make(kind, samples=4, **options).value_and_grad(QUADRATIC, outer)
    init, meta, batches = as_array(arguments())
    metas, keys = {"w": jnp.stack([meta["w"], 2 * meta["w"]])}, jax.random.split(jax.random.key(1), 2)
    found = quick_jit(jax.vmap(joined, in_axes=(None, 0, None, 0)))(init, metas, batches, keys)
    single = quick_jit(joined)
    for t in range(2):
        alone = single(init, {"w": metas["w"][t]}, batches, keys[t])
        np.testing.assert_allclose(flat(jax.tree.map(lambda leaf, t=t: leaf[t], found)), flat(alone), rtol=1e-9)


def test_memory_grows_with_the_pairs_side_by_side_and_not_with_the_population():
    problem = InnerProblem(
        lambda params, meta, batch: jnp.sum(jnp.tanh(batch @ params) ** 2) * meta, optimizers.sgd(0.1)
    )
    args = (jnp.ones((8, 512)), jnp.ones(()), jnp.ones((2, 64, 8)))

    def temp(kind, **options):
        joined = make(kind, **options).value_and_grad(problem, jnp.sum)
        return quick_jit(joined).lower(*args).compile().memory_analysis().temp_size_in_bytes

    few = temp("evolution", samples=8)
    assert temp("evolution", samples=8, batch_size=4) > 2.5 * few
    assert temp("evolution", samples=808) < few + 800 * 64  # a key and a difference for each, and no perturbation
    particles = temp("persistent_evolution", samples=8)
    assert temp("persistent_evolution", samples=8, batch_size=4) > 1.5 * particles


@pytest.mark.parametrize("kind", ["evolution", "persistent_evolution"])
def test_nothing_is_differentiated_and_nothing_is_batched_that_was_not_asked_for(kind):
    """A kernel on the host without any derivative or batching rule, and an outer loss that counts."""

    def on_host(params, w, batch):
        return np.asarray(batch) * (np.asarray(params) - np.asarray(w))

    def kernel(params, meta, batch):
        return jnp.sum(params), jax.pure_callback(on_host, params, params, meta["w"], batch)

    def count(params):
        return jnp.sum(params > TARGET.astype(np.float32))

    narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), arguments())
    (value, found), (expected_value, expected) = (
        quick_jit(make(kind, samples=60, sigma=1.0).value_and_grad(problem, count))(*narrow)
        for problem in (InnerProblem(lambda *_: 1 / 0, optimizers.sgd(0.4), kernel), QUADRATIC)
    )
    assert value == expected_value
    assert jnp.issubdtype(value.dtype, jnp.integer)
    np.testing.assert_allclose(found.meta["w"], expected.meta["w"], rtol=1e-4)
    assert found.meta["w"].sum() > 0.1  # a larger w, a larger φ_K, a larger count


@pytest.mark.parametrize("kind", ["evolution", "persistent_evolution"])
def test_float32_stays_float32_under_x64(kind):
    narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), arguments())
    shapes = jax.eval_shape(make(kind).value_and_grad(QUADRATIC, lambda p: jnp.sum(p**2)), *narrow)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_where_the_noise_exceeds_the_signal_it_says_so():
    estimator = make(samples=2)
    _, found = over_keys(estimator, 40, linear)
    assert np.mean(found.diagnostics["signal_to_noise"] < 1) > 0.5
    assert "signal_to_noise = 0.31, below 1): raise samples = 2" in estimator.assumption({"signal_to_noise": 0.31})
    assert estimator.assumption({"signal_to_noise": np.nan}) is not None
    assert estimator.assumption({"signal_to_noise": 1.5}) is None
    flat_loss = quick_jit(estimator.value_and_grad(QUADRATIC, lambda p: 0.0 * jnp.sum(p)))
    assert flat_loss(*as_array(arguments()))[1].diagnostics["signal_to_noise"] == 0


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("evolution", {"samples": 1}, "samples = 1: the variance of the estimate needs at least 2 pairs"),
        ("evolution", {"sigma": 0.0}, "sigma = 0.0: the width"),
        ("evolution", {"batch_size": 0}, "batch_size = 0: at least 1 pair"),
        ("persistent_evolution", {"samples": 0}, "samples = 0"),
        ("persistent_evolution", {"window": 0}, "window = 0: a window needs at least 1"),
    ],
)
def test_options_out_of_range_are_refused(kind, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(kind, **options)


def test_a_window_that_does_not_divide_the_run_and_a_wrong_window_are_refused():
    estimator = make("persistent_evolution", window=3)
    with pytest.raises(ValueError, match="window = 3 does not divide the K = 4 inner steps; use a divisor of 4"):
        estimator.value_and_grad(QUADRATIC, outer)(*arguments())
    state = estimator.init_state(QUADRATIC, *as_array(arguments())[:2])
    with pytest.raises(ValueError, match="K = 0 inner steps"):
        estimator.step(QUADRATIC, outer, state, arguments()[1], np.ones((0, D)), jax.random.key(0))
    with pytest.raises(TypeError, match="has dtype int64"):
        estimator.step(QUADRATIC, outer, state, {"w": np.ones(D, int)}, np.ones((1, D)), jax.random.key(0))
