"""Whatever enters the inner loss or the optimiser has a meta-gradient: each kind against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import optimizers
from mass_jax.types import InnerProblem
from tests.metagrad import problems
from tests.metagrad.problems import flat, plain_run, quick_jit

STEPS = 3


def example_losses(base, lora, batch):
    """As `problems.example_losses`, with the inputs as vectors and a weight for every token."""
    h_NxTxH = jnp.tanh(batch["x"] @ base["hidden_DxH"] + batch["x"] @ lora["A_DxR"] @ lora["B_RxH"])
    log_probs = jax.nn.log_softmax(h_NxTxH @ base["out_HxV"])
    return -jnp.sum(batch["weights"] * jnp.take_along_axis(log_probs, batch["labels"][..., None], -1)[..., 0], axis=-1)


def learned_case(name):
    """(problem, outer loss, arguments): the meta-parameters are of the named kind only."""
    base = problems.base_parameters()
    rng = np.random.default_rng(5)
    batches = problems.make_batches(STEPS)
    x_KxNxTxD = base["embed_VxD"][batches["tokens"]]
    token_weights = jnp.asarray(rng.uniform(0.2, 1.0, batches["tokens"].shape))
    adam = optimizers.adam(0.05)

    def inputs(meta, batch):
        step = batch["step"]
        x = meta["x"][step] if "x" in meta else base["embed_VxD"][batch["tokens"]]
        weights = meta["token_weights"][step] if "token_weights" in meta else jnp.full(x.shape[:2], 0.3)
        return {"x": x, "weights": weights, "labels": batch["labels"]}

    def loss(lora, meta, batch):
        return jnp.sum(example_losses(base, lora, inputs(meta, batch)))

    kinds = {
        "token weights": ({"token_weights": token_weights}, adam),
        "continuous inputs": ({"x": x_KxNxTxD}, adam),
        "rate": ({"log_rate": jnp.asarray(-3.0)}, optimizers.adam(lambda meta: jnp.exp(meta["log_rate"]))),
        "rates per step": (
            {"rates_K": jnp.asarray([0.5, 1.0, 2.0])},
            optimizers.scaled(adam, lambda meta, step: meta["rates_K"][step]),
        ),
        "rates per layer": (
            {"A": jnp.asarray(0.5), "B": jnp.asarray([[2.0], [1.0]])},
            optimizers.scaled(adam, lambda meta, step: {"A_DxR": meta["A"], "B_RxH": meta["B"]}),
        ),
        "momentum and clip": (
            {"momentum": jnp.asarray(0.8), "clip": jnp.asarray(0.3)},
            optimizers.clip_by_global_norm(
                optimizers.sgd(0.3, lambda meta: meta["momentum"]), lambda meta: meta["clip"]
            ),
        ),
        "weight decay by optax": (
            {"decay": jnp.asarray(0.1)},
            optimizers.from_optax(
                lambda meta: optax.adamw(0.05, eps_root=1e-6, weight_decay=meta["decay"]), example_meta={"decay": 0.0}
            ),
        ),
    }  # fmt: skip
    meta, optimizer = kinds[name]
    arguments = (problems.fresh_lora(), meta, batches)
    return InnerProblem(loss, optimizer), problems.outer_loss(base), arguments


KINDS = [
    "token weights", "continuous inputs", "rate", "rates per step", "rates per layer", "momentum and clip",
    "weight decay by optax",
]  # fmt: skip

DIFFERENCES = {name: (1e-5, 2e-6) for name in KINDS} | {"weight decay by optax": (1e-3, 2e-4)}
"""Of the differences. The loss hardly depends on the decay, so that smaller steps would measure its rounding."""


def directional(value, meta, step_size):
    rng = np.random.default_rng(7)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), meta)

    def at(h):
        return float(value(jax.tree.map(lambda leaf, along: leaf + h * along, meta, direction)))

    return flat(direction), (at(step_size) - at(-step_size)) / (2 * step_size)


@pytest.mark.parametrize("name", KINDS)
def test_it_has_the_gradient_of_finite_differences(name):
    problem, outer, (init, meta, batches) = learned_case(name)
    found = [
        flat(quick_jit(metagrad.make(kind).value_and_grad(problem, outer))(init, meta, batches)[1].meta)
        for kind in ("adjoint", "unroll")
    ]
    for step_size in DIFFERENCES[name]:
        direction, expected = directional(lambda m: outer(plain_run(problem, init, m, batches)), meta, step_size)
        np.testing.assert_allclose(found[0] @ direction, expected, rtol=1e-5, atol=1e-10)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-13)
    assert np.all(np.abs(found[0]) > 0)


def normalized_case():
    base = problems.base_parameters()

    def losses(lora, meta, batch):
        return problems.example_losses(base, lora, batch, meta["sharpness"])

    def weights(meta, batch):
        return meta["weights_KxN"][batch["step"], batch["example"]]

    def loss(lora, meta, batch):
        return jnp.sum(weights(meta, batch) * losses(lora, meta, batch))

    gradient = metagrad.normalized_examples(losses, weights)
    problem = InnerProblem(loss, optimizers.sgd(0.3, momentum=0.9), gradient)
    meta = {name: leaf for name, leaf in problems.make_meta(0.3).items() if name != "log_lr"}
    return problem, problems.outer_loss(base), (problems.fresh_lora(), meta, problems.make_batches(STEPS))


def test_normalised_examples_pull_with_their_weights_alone():
    problem, _, (init, meta, batches) = normalized_case()
    batch = jax.tree.map(lambda leaf: leaf[0], batches)
    _, found = problem.gradient(init, meta, batch)
    expected = np.zeros_like(flat(init))
    for i in range(problems.N):
        one = meta | {"weights_KxN": jnp.zeros_like(meta["weights_KxN"]).at[0, i].set(1.0)}
        alone = flat(jax.grad(problem.loss)(init, one, batch))
        expected += float(meta["weights_KxN"][0, i]) * alone / np.sqrt(alone @ alone + 1e-8)
    np.testing.assert_allclose(flat(found), expected, rtol=1e-10)


@pytest.mark.parametrize(
    "estimator",
    [
        metagrad.make("unroll", init_grad=True),
        metagrad.make("adjoint", init_grad=True, microbatch=2),
        metagrad.make("mixed_mode", init_grad=True),
        metagrad.make("forward", init_grad=True),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_through_normalised_examples_the_exact_estimators_agree_with_finite_differences(estimator):
    """The field is not a gradient, its Jacobian not symmetric: forward over reverse alone would be wrong."""
    problem, outer, (init, meta, batches) = normalized_case()

    def value(moved):
        params, state = moved[1], problem.optimizer.init(moved[1])
        for t in range(STEPS):
            grads = problem.gradient(params, moved[0], jax.tree.map(lambda leaf, t=t: leaf[t], batches))[1]
            params, state = problem.optimizer.update(grads, state, params, moved[0])
        return outer(params)

    _, found = quick_jit(estimator.value_and_grad(problem, outer))(init, meta, batches)
    direction, expected = directional(quick_jit(value), (meta, init), 1e-6)
    np.testing.assert_allclose(flat((found.meta, found.init)) @ direction, expected, rtol=1e-5)
