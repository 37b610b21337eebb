"""First-order attribution: exact where it should be, wrong where it should be, and it says which."""

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax import metagrad
from tests.metagrad import problems
from tests.metagrad.problems import compiled, cosine, flat, lora_case, meta_gradient, plain_run

RATE = problems.RATES["sgd"]


def test_exact_for_one_step_of_sgd_except_for_the_hyperparameters():
    _, gradient = meta_gradient(metagrad.make("first_order", scale=RATE), "sgd", 1)
    _, exact = meta_gradient(metagrad.make("unroll", init_grad=True), "sgd", 1)
    for part in ("weights_KxN", "sharpness"):
        np.testing.assert_allclose(gradient.meta[part], exact.meta[part], rtol=1e-10, atol=1e-15)
    assert gradient.meta["log_lr"] == 0.0 != exact.meta["log_lr"]
    assert gradient.init is None
    for value in gradient.diagnostics.values():
        np.testing.assert_allclose(value, 1.0, rtol=1e-10)


def test_is_minus_scale_times_the_alignment_of_each_example_gradient():
    problem, outer, (init, meta, batches) = lora_case("adam", 2)
    _, gradient = meta_gradient(metagrad.make("first_order", scale=0.3, init_grad=True, microbatch=1), "adam", 2)
    cotangent = jax.grad(outer)(plain_run(problem, init, meta, batches))
    np.testing.assert_allclose(flat(gradient.init), flat(cotangent), rtol=1e-9, atol=1e-13)
    for t in range(2):
        params = plain_run(problem, init, meta, jax.tree.map(lambda leaf, t=t: leaf[:t], batches))
        batch = jax.tree.map(lambda leaf, t=t: leaf[t], batches)
        for i in range(problems.N):
            weights = jnp.zeros_like(meta["weights_KxN"]).at[t, i].set(1.0)
            example_grad = jax.grad(problem.loss)(params, meta | {"weights_KxN": weights}, batch)
            expected = -0.3 * flat(cotangent) @ flat(example_grad)
            np.testing.assert_allclose(gradient.meta["weights_KxN"][t, i], expected, rtol=1e-8)


def test_adam_is_what_it_misses_and_the_diagnostic_says_so(record_property):
    def compare(optimizer: str, rate: float) -> tuple[float, float]:
        init, _, batches = lora_case(optimizer, 5).arguments
        first_order, exact = (
            compiled(estimator, optimizer)(init, problems.make_meta(rate), batches)[1]
            for estimator in (metagrad.make("first_order"), metagrad.make("adjoint", init_grad=True))
        )
        agreement = cosine(first_order.meta["weights_KxN"], exact.meta["weights_KxN"])
        return agreement, float(first_order.diagnostics["update_cosine"])

    agreement, diagnostic = compare("sgd", 1e-3)
    assert agreement > 0.9999
    np.testing.assert_allclose(diagnostic, 1.0, rtol=1e-9)
    agreement, diagnostic = compare("adam", problems.RATES["adam"])
    record_property("adam_cosine", agreement)
    assert agreement < 0.8
    assert diagnostic < 0.8


def test_without_any_gradient_the_diagnostics_are_zero_not_nan():
    init, meta, batches = lora_case("sgd", 5).arguments
    nothing = meta | {"weights_KxN": jnp.zeros_like(meta["weights_KxN"])}
    _, gradient = compiled(metagrad.make("first_order"), "sgd")(init, nothing, batches)
    assert gradient.diagnostics == {"update_cosine": 0.0, "update_ratio": 0.0}
