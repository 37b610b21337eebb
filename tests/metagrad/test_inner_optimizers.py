"""Inner optimisers: optax's numbers forwards, finite numbers backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import optimizers
from mass_jax.types import InnerProblem
from tests.metagrad import problems
from tests.metagrad.problems import flat, quick_jit

RATE = 0.1
PAIRS = {
    "sgd": (optimizers.sgd(lambda meta: meta), optax.sgd(RATE)),
    "momentum": (optimizers.sgd(RATE, 0.9), optax.sgd(RATE, 0.9)),
    "learned momentum": (optimizers.sgd(RATE, lambda meta: 9 * meta), optax.sgd(RATE, 0.9)),
    "adam": (optimizers.adam(lambda meta: meta, eps_root=0.0), optax.adam(RATE)),
    "adam, all options": (
        optimizers.adam(RATE, 0.8, 0.95, 1e-3, 1e-4),
        optax.adam(RATE, b1=0.8, b2=0.95, eps=1e-3, eps_root=1e-4),
    ),
    "adam, safe default": (optimizers.adam(RATE), optax.adam(RATE, eps_root=1e-6)),
    "clipped": (
        optimizers.clip_by_global_norm(optimizers.sgd(RATE), 2.0),
        optax.chain(optax.clip_by_global_norm(2.0), optax.sgd(RATE)),
    ),
    "normalized": (
        optimizers.normalized_sgd(RATE, eps_root=0.0),
        optax.chain(optax.normalize_by_update_norm(eps=0.0), optax.sgd(RATE)),
    ),
    "from optax": (
        optimizers.from_optax(lambda meta: optax.adamw(meta, weight_decay=meta / 10), example_meta=0.0),
        optax.adamw(RATE, weight_decay=RATE / 10),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_forward_pass_is_optax(name):
    ours, theirs = PAIRS[name]
    params = expected = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([[3.0]])}
    state, expected_state = ours.init(params), theirs.init(expected)
    for t in range(5):
        grads = jax.tree.map(lambda p, t=t: jnp.sin(3.0 * p + t) * (0.5 + t), expected)
        params, state = ours.update(grads, state, params, jnp.asarray(RATE))
        updates, expected_state = theirs.update(grads, expected_state, expected)
        expected = optax.apply_updates(expected, updates)
        np.testing.assert_allclose(flat(params), flat(expected), rtol=1e-12)


@pytest.mark.parametrize("name", ["unroll", "adjoint"])
def test_adam_at_a_fresh_lora_is_nan_without_eps_root_and_finite_by_default(name):
    """B = 0 makes ∇A exactly zero, where √v has no derivative."""
    estimator = metagrad.make(name, init_grad=True)
    _, outer, arguments = problems.lora_case("adam", 2)
    plain = problems.lora_problem(problems.base_parameters(), optimizers.adam(problems.learned_rate, eps_root=0.0))
    _, gradient = quick_jit(estimator.value_and_grad(plain, outer))(*arguments)
    assert np.isnan(flat(gradient)).any()
    _, gradient = problems.meta_gradient(estimator, "adam", 2)
    assert np.isfinite(flat(gradient)).all()


@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.clip_by_global_norm(optimizers.sgd(0.1), 1.0),
        optimizers.normalized_sgd(0.1),
    ],
)
def test_all_weights_zero_gives_a_finite_meta_gradient(optimizer):
    problem = problems.lora_problem(problems.base_parameters(), optimizer)
    init, meta, batches = problems.lora_case("sgd", 2).arguments
    nothing = meta | {"weights_KxN": jnp.zeros_like(meta["weights_KxN"])}
    outer = problems.outer_loss(problems.base_parameters())
    _, gradient = quick_jit(metagrad.make("adjoint").value_and_grad(problem, outer))(init, nothing, batches)
    assert np.isfinite(flat(gradient)).all()
    assert np.any(gradient.meta["weights_KxN"][:2])


def test_clipping_has_the_derivative_of_its_branch():
    """Above the limit the step's length does not depend on the gradient's; below, clipping is not there."""
    optimizer = optimizers.clip_by_global_norm(optimizers.sgd(1.0), 1.0)

    def step(scale):
        return optimizer.update(scale * jnp.array([0.6, 0.8]), optimizer.init(jnp.zeros(2)), jnp.zeros(2), None)[0]

    np.testing.assert_allclose(jax.jacobian(step)(3.0), [0.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(jax.jacobian(step)(0.5), [-0.6, -0.8], rtol=1e-12)


def test_every_hyperparameter_can_be_learned():
    names = ("lr", "b1", "b2", "eps", "eps_root")
    meta = dict(zip(names, jnp.array([0.1, 0.9, 0.99, 0.01, 0.01]), strict=True))
    optimizer = optimizers.adam(*[lambda meta, name=name: meta[name] for name in names])
    problem = InnerProblem(lambda p, meta, x: jnp.sum(jnp.cosh(p - x)), optimizer)
    arguments = (jnp.array([0.3, -0.7]), meta, jnp.arange(6.0).reshape(3, 2))
    found, expected = (
        quick_jit(metagrad.make(name).value_and_grad(problem, jnp.sum))(*arguments)[1] for name in ("adjoint", "unroll")
    )
    np.testing.assert_allclose(flat(found), flat(expected), rtol=1e-10)
    assert np.all(np.abs(flat(found)) > 1e-6)


def test_from_optax_without_an_example_says_what_to_pass():
    optimizer = optimizers.from_optax(lambda meta: optax.sgd(meta["lr"]))
    with pytest.raises(ValueError, match="pass from_optax an example_meta"):
        optimizer.init(jnp.zeros(2))
