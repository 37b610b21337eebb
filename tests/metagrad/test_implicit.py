"""The implicit function theorem against closed forms on ridge regression, and what it says where it does not hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import optimizers
from mass_jax.metagrad.implicit import ImplicitResiduals
from mass_jax.metagrad.solvers import conjugate_gradient, neumann, nystrom
from mass_jax.types import InnerProblem
from tests.metagrad import problems
from tests.metagrad.problems import flat, quick_jit

N, D, STEPS = 6, 3, 120
RNG = np.random.default_rng(0)
X_NxD, Y_N, INIT = RNG.normal(size=(N, D)), RNG.normal(size=N), RNG.normal(size=D)
X_VAL, Y_VAL = RNG.normal(size=(5, D)), RNG.normal(size=5)
META = {"w_N": RNG.uniform(0.5, 1.5, N), "log_reg": np.asarray(np.log(2.0)), "log_lr": np.asarray(np.log(0.12))}
BATCHES = {"x": np.tile(X_NxD, (STEPS, 1, 1)), "y": np.tile(Y_N, (STEPS, 1)), "i": np.tile(np.arange(N), (STEPS, 1))}


def ridge_loss(params, meta, batch):
    """½ Σ w_i (x_i·φ − y_i)² + ½ e^log_reg ‖φ‖², the latter in equal shares: a sum over examples."""
    fit = meta["w_N"][batch["i"]] * (batch["x"] @ params - batch["y"]) ** 2
    return 0.5 * jnp.sum(fit + jnp.exp(meta["log_reg"]) / N * jnp.sum(params**2))


RIDGE = InnerProblem(ridge_loss, optimizers.sgd(problems.learned_rate))


def outer(params):
    return 0.5 * jnp.sum((X_VAL.astype(params.dtype) @ params - Y_VAL.astype(params.dtype)) ** 2)


def closed_form(damping=0.0, proximal=0.0, scale=1.0):
    """(φ*, d L / d meta, d L / d init) with numpy; ``scale`` multiplies the fit and the regulariser."""
    w_N, reg = scale * META["w_N"], scale * np.exp(META["log_reg"])
    hessian = X_NxD.T @ (w_N[:, None] * X_NxD) + (reg + proximal) * np.eye(D)
    solution = np.linalg.solve(hessian, X_NxD.T @ (w_N * Y_N) + proximal * INIT)
    x = np.linalg.solve(hessian + damping * np.eye(D), X_VAL.T @ (X_VAL @ solution - Y_VAL))
    by_weight = -scale * (X_NxD @ solution - Y_N) * (X_NxD @ x)
    return solution, {"w_N": by_weight, "log_reg": -reg * solution @ x, "log_lr": 0.0}, proximal * x


def check(gradient, expected, rtol=1e-9):
    for name, leaf in expected.items():
        np.testing.assert_allclose(gradient.meta[name], leaf, rtol=rtol, err_msg=name)


SOLVERS = {
    "cg": {"solver": "cg", "iterations": D},
    "neumann": {"solver": "neumann", "iterations": 150, "alpha": 0.12},
    "nystrom": {"solver": "nystrom", "iterations": D},
}


def make(**options):
    return metagrad.make("implicit", **options)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_closed_form_of_ridge_regression_with_and_without_damping(solver, damping):
    if solver == "nystrom":
        damping = damping or 0.01
    estimator = make(damping=damping, **SOLVERS[solver])
    value, gradient = quick_jit(estimator.value_and_grad(RIDGE, outer))(jnp.asarray(INIT), META, BATCHES)
    solution, expected, _ = closed_form(damping)
    np.testing.assert_allclose(value, outer(solution), rtol=1e-12)
    check(gradient, expected)
    assert gradient.init is None
    assert gradient.diagnostics["stationarity"] < 1e-8
    assert gradient.diagnostics["solver_residual"] < 1e-8
    assert estimator.assumption(gradient.diagnostics) is None


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("microbatch", [None, 2])
def test_the_proximal_term_pulls_the_run_and_passes_a_gradient_to_init(solver, microbatch):
    """Where the proximal term stands in the loss, microbatches of 2 would add it three times."""
    proximal = 0.7
    estimator = make(proximal=proximal, init_grad=True, microbatch=microbatch, **SOLVERS[solver])
    run = quick_jit(lambda *args: estimator.adapt(RIDGE, *args))(jnp.asarray(INIT), META, BATCHES)
    solution, expected, expected_init = closed_form(proximal=proximal)
    np.testing.assert_allclose(run.params, solution, rtol=1e-9)
    pullback = quick_jit(lambda *args: estimator.pullback(RIDGE, *args))
    gradient = pullback(run.residuals, META, BATCHES, jax.grad(outer)(run.params))
    check(gradient, expected)
    np.testing.assert_allclose(gradient.init, expected_init, rtol=1e-9)
    assert gradient.diagnostics["stationarity"] < 1e-8


def test_the_closed_form_is_the_derivative_of_the_solution():
    def by_autodiff(init, meta, proximal=0.7):
        hessian = X_NxD.T @ (meta["w_N"][:, None] * X_NxD) + (jnp.exp(meta["log_reg"]) + proximal) * jnp.eye(D)
        return outer(jnp.linalg.solve(hessian, X_NxD.T @ (meta["w_N"] * Y_N) + proximal * init))

    by_init, by_meta = jax.grad(by_autodiff, argnums=(0, 1))(jnp.asarray(INIT), META)
    _, expected, expected_init = closed_form(proximal=0.7)
    np.testing.assert_allclose(by_init, expected_init, rtol=1e-10)
    np.testing.assert_allclose(by_meta["w_N"], expected["w_N"], rtol=1e-10)


def test_several_batches_count_as_their_mean():
    """Two batches of half the examples: ℓ is half the whole loss, which damping tells from the whole."""
    batches = {name: leaf[0].reshape(2, N // 2, *leaf.shape[2:]) for name, leaf in BATCHES.items()}
    solution, expected, _ = closed_form(damping=0.4, scale=0.5)
    estimator = make(damping=0.4, iterations=D)
    # The shares of the regulariser add up to half in each batch, as those of the fit do over both.
    residuals = ImplicitResiduals(jnp.asarray(INIT), jnp.asarray(solution), jnp.zeros(2))
    gradient = quick_jit(lambda *args: estimator.pullback(RIDGE, *args))(
        residuals, META, batches, jax.grad(outer)(jnp.asarray(solution))
    )
    check(gradient, expected)
    assert gradient.diagnostics["stationarity"] < 1e-12


def test_at_the_end_of_a_converged_run_it_is_the_exact_gradient_of_the_run():
    """Weighted logistic regression, where no closed form helps."""
    label_N = np.sign(Y_N)

    def loss(params, meta, batch):
        fit = meta["w_N"] * jnp.log1p(jnp.exp(-label_N * (X_NxD @ params)))
        return jnp.sum(fit) + jnp.exp(meta["log_reg"]) * jnp.sum(params**2) + 0 * jnp.sum(batch)

    problem = InnerProblem(loss, optimizers.sgd(0.1))
    arguments = (jnp.asarray(INIT), META, np.zeros((100, 1)))
    (value, found), (expected_value, expected) = (
        quick_jit(metagrad.make(name).value_and_grad(problem, outer))(*arguments) for name in ("implicit", "adjoint")
    )
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    np.testing.assert_allclose(found.meta["w_N"], expected.meta["w_N"], rtol=1e-8)
    np.testing.assert_allclose(found.meta["log_reg"], expected.meta["log_reg"], rtol=1e-8)


def test_far_from_a_stationary_point_or_a_solution_it_says_so():
    def diagnostics(steps, **options):
        estimator = make(**options)
        batches = {name: leaf[:steps] for name, leaf in BATCHES.items()}
        joined = quick_jit(estimator.value_and_grad(RIDGE, outer))
        found = {name: float(leaf) for name, leaf in joined(INIT, META, batches)[1].diagnostics.items()}
        return found, estimator.assumption(found)

    found, sentence = diagnostics(1)
    w_N, reg = META["w_N"], np.exp(META["log_reg"])
    gradient = lambda at: X_NxD.T @ (w_N * (X_NxD @ at - Y_N)) + reg * at  # noqa: E731
    after = INIT - np.exp(META["log_lr"]) * gradient(INIT)
    expected = np.linalg.norm(gradient(after)) / np.linalg.norm(gradient(INIT))
    assert found["stationarity"] == pytest.approx(expected, rel=1e-9)
    assert expected > 0.1
    assert "stationary point" in sentence
    assert f"{expected:.2g} of that at the start" in sentence
    found, sentence = diagnostics(STEPS, iterations=1)
    assert 0.1 < found["solver_residual"] < 1
    assert "cg with 1 iterations left a relative residual" in sentence
    found, sentence = diagnostics(STEPS, solver="neumann", alpha=1.0)
    assert found["solver_residual"] > 1e3
    assert "lower alpha if it diverges" in sentence
    assert make().assumption({"stationarity": np.nan, "solver_residual": 0.0}) is not None
    assert make().assumption({"stationarity": 0.0, "solver_residual": np.nan}) is not None


def test_microbatches_change_the_memory_and_not_the_gradient():
    arguments = (problems.fresh_lora(width=512), problems.make_meta(0.05), problems.make_batches(2, length=32))
    base = problems.base_parameters(width=512)
    problem = problems.lora_problem(base, optimizers.adam(problems.learned_rate))
    programs = [
        quick_jit(make(iterations=3, damping=1.0, microbatch=m).value_and_grad(problem, problems.outer_loss(base)))
        .lower(*arguments)
        .compile()
        for m in (None, 1)
    ]
    whole, parts = (program.memory_analysis().temp_size_in_bytes for program in programs)
    assert parts < 0.75 * whole
    (_, expected), (_, found) = (program(*arguments) for program in programs)
    np.testing.assert_allclose(flat(found), flat(expected), rtol=1e-9, atol=1e-14)
    assert not np.any(found.meta["log_lr"])
    assert np.all(np.asarray(found.meta["weights_KxN"])[:2] != 0)


def test_a_rate_that_only_the_optimiser_reads_is_known_to_get_nothing():
    arguments = (jnp.asarray(INIT), META, BATCHES)
    found = metagrad.explain(make(), RIDGE, *arguments)
    assert found.gradients == {"meta['log_lr']": False, "meta['log_reg']": True, "meta['w_N']": True}
    cheaper = metagrad.explain(make(iterations=10), RIDGE, *arguments)
    assert found.flops > 1.5 * cheaper.flops  # every iteration is counted


def test_vmap_over_problems_equals_one_by_one_and_float32_stays_float32():
    tasks = 3
    metas = jax.tree.map(lambda leaf: jnp.stack([leaf + 0.1 * t for t in range(tasks)]), META)
    joined = make(iterations=D).value_and_grad(RIDGE, outer)
    found = quick_jit(jax.vmap(joined, in_axes=(None, 0, None)))(jnp.asarray(INIT), metas, BATCHES)
    single = quick_jit(joined)
    for t in range(tasks):
        alone = single(jnp.asarray(INIT), jax.tree.map(lambda leaf, t=t: leaf[t], metas), BATCHES)
        np.testing.assert_allclose(flat(found[1].meta["w_N"][t]), flat(alone[1].meta["w_N"]), rtol=1e-9)
    narrow = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float32 if np.issubdtype(leaf.dtype, np.floating) else leaf.dtype),
        (INIT, META, BATCHES),
    )
    for options in SOLVERS.values():
        joined = make(proximal=0.5, init_grad=True, **options).value_and_grad(RIDGE, outer)
        shapes = jax.eval_shape(joined, *narrow)
        assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_a_gradient_of_one_s_own_is_transposed_and_only_neumann_takes_it():
    """A field that is no gradient: A φ − w, with A not symmetric."""
    A = np.eye(D) + 0.3 * np.triu(np.ones((D, D)), 1)
    w = jnp.asarray(INIT)
    problem = InnerProblem(
        lambda p, m, b: jnp.sum(p * b), optimizers.sgd(0.5), lambda p, m, b: (jnp.sum(p), A @ p - m + 0 * jnp.sum(b))
    )
    arguments = (jnp.zeros(D), w, np.zeros((60, 1)))
    joined = make(solver="neumann", iterations=60, alpha=0.5).value_and_grad(problem, lambda p: jnp.sum(p**2))
    _, gradient = quick_jit(joined)(*arguments)
    np.testing.assert_allclose(gradient.meta, np.linalg.solve(A.T, 2 * np.linalg.solve(A, w)), rtol=1e-9)
    with pytest.raises(ValueError, match=r"solver = 'cg' needs a symmetric Hessian.*use solver=\"neumann\""):
        make().adapt(problem, *arguments)


def test_solvers_on_trees_and_where_they_could_break():
    A, two, saddle, dead = (
        np.diag([1.0, 1.0, 4.0, 4.0]) + 0.1,
        np.diag([1.0, 1.0, 4.0, 4.0]),
        np.diag([1.0, 1.0, -1.0, -1.0]),
        np.diag([2.0, 0.0, 0.0, 3.0]),
    )
    b, b_tree = np.array([1.0, 2.0, 3.0, -1.0]), {"u": np.array([1.0, 2.0]), "v": np.array([[3.0, -1.0]])}
    key = jax.random.key(0)

    def product(matrix):
        def apply(tree):
            out = matrix @ jnp.concatenate([tree["u"], tree["v"][0]])
            return {"u": out[:2], "v": out[2:][None]}

        return apply

    found = quick_jit(
        lambda b: {
            "cg": conjugate_gradient(product(A), b, 4),
            "cg, long after": conjugate_gradient(product(A), b, 2000),
            "cg, two eigenvalues": conjugate_gradient(product(two), b, 2),
            "cg, saddle": conjugate_gradient(product(saddle), b, 50),
            "neumann": neumann(product(A), b, 1, 0.2),
            "nystrom": nystrom(product(A), b, 4, 0.3, key),
            "nystrom, dead": nystrom(product(dead), b, 4, 0.3, key),
            "nystrom, low rank": nystrom(product(A), b, 2, 0.3, key),
        }
    )(jax.tree.map(jnp.asarray, b_tree))
    shifted = np.linalg.solve(A + 0.3 * np.eye(4), b)
    expected = {
        "cg": np.linalg.solve(A, b),
        "cg, long after": np.linalg.solve(A, b),  # nothing is divided by a residual of zero
        "cg, two eigenvalues": b / np.diag(two),
        "neumann": 0.2 * (2 * b - 0.2 * A @ b),
        "nystrom": shifted,
        "nystrom, dead": b / (np.diag(dead) + 0.3),
    }
    for name, solution in expected.items():
        np.testing.assert_allclose(flat(found[name]), solution, rtol=1e-10, err_msg=name)
    assert np.all(np.isfinite(flat(found["cg, saddle"])))
    assert np.linalg.norm(flat(found["nystrom, low rank"]) - shifted) > 1e-2
    with pytest.raises(ValueError, match="5 columns of a Hessian that has 4: use at most 4"):
        nystrom(product(A), b_tree, 5, 0.3, key)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"solver": "lu"}, "solver = 'lu' is unknown; use one of cg, neumann, nystrom"),
        ({"iterations": 0}, "iterations = 0: the solver needs at least 1"),
        ({"damping": -1.0}, "damping = -1.0 is negative"),
        ({"proximal": np.nan}, "proximal = nan is negative"),
        ({"alpha": 0.0}, "alpha = 0.0: the step of the Neumann series is positive"),
        ({"solver": "nystrom"}, "set damping or proximal above 0"),
        ({"init_grad": True}, "init_grad = True with proximal = 0.*set proximal above 0"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**options)


def test_optimistix_differentiates_the_same_minimiser_to_the_same_numbers():
    """An optional check: ``pip install optimistix``."""
    optimistix = pytest.importorskip("optimistix")
    batch = {name: jnp.asarray(leaf[0]) for name, leaf in BATCHES.items()}

    def solved(meta):
        found = optimistix.minimise(
            lambda params, meta: ridge_loss(params, meta, batch),
            optimistix.BFGS(rtol=1e-12, atol=1e-12),
            jnp.asarray(INIT),
            meta,
            adjoint=optimistix.ImplicitAdjoint(),
            max_steps=1000,
        )
        return outer(found.value)

    expected = jax.grad(solved)(META)
    _, gradient = quick_jit(make(iterations=D).value_and_grad(RIDGE, outer))(jnp.asarray(INIT), META, BATCHES)
    np.testing.assert_allclose(gradient.meta["w_N"], expected["w_N"], rtol=1e-7)
    np.testing.assert_allclose(gradient.meta["log_reg"], expected["log_reg"], rtol=1e-7)
