"""What a caller can get wrong is said in a sentence, at the door, before anything is compiled."""

import jax
import numpy as np
import pytest

from mass_jax import metagrad
from mass_jax.types import InnerOptimizer, InnerProblem


def never(*_):
    raise AssertionError("the loss or the optimiser was traced before the arguments were checked")


PROBLEM = InnerProblem(never, InnerOptimizer(never, never))
INIT, META, BATCHES = {"p": np.ones(2)}, {"lr": np.ones(())}, {"x": np.ones((3, 4))}
WRONG = {
    "integer meta": (
        INIT,
        {"lr": 1.0, "n": np.ones(2, int)},
        BATCHES,
        TypeError,
        r"meta\['n'\] has dtype int64.*cast",
    ),
    "integer init": ({"p": np.ones(2, int)}, META, BATCHES, TypeError, r"init\['p'\] has dtype int64"),
    "no leaves": (INIT, META, {}, ValueError, "batches has no leaves"),
    "scalar": (INIT, META, {"x": np.ones(())}, ValueError, r"batches\['x'\] is a scalar.*stack"),
    "K = 0": (INIT, META, {"x": np.ones((0, 4))}, ValueError, r"shape \(0, 4\), so K = 0.*least is 1"),
    "no examples": (INIT, META, {"x": np.ones((3, 0))}, ValueError, r"shape \(3, 0\): the batch is empty"),
    "two K": (
        INIT,
        META,
        {"x": np.ones((3, 4)), "y": np.ones((2, 4))},
        ValueError,
        r"\['x'\] has 3, .*\['y'\] has 2",
    ),
}


WITH_COTANGENT = [name for name, kind in metagrad.ESTIMATORS.items() if kind.needs_cotangent]


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("name", metagrad.ESTIMATORS)
def test_wrong_arguments_are_refused_before_anything_is_traced(name, case):
    init, meta, batches, error, sentence = WRONG[case]
    if name in WITH_COTANGENT:
        with pytest.raises(error, match=sentence):
            metagrad.make(name).adapt(PROBLEM, init, meta, batches)
    with pytest.raises(error, match=sentence):
        jax.eval_shape(metagrad.make(name).value_and_grad(PROBLEM, never), init, meta, batches)


@pytest.mark.parametrize("name", WITH_COTANGENT)
@pytest.mark.parametrize(
    ("cotangent", "sentence"),
    [
        (np.ones(2), r"cotangent has leaves \[''\], the parameters \[\"\['p'\]\"\]"),
        ({"p": np.ones(3)}, r"cotangent\['p'\] is float64\[3\], the parameter float64\[2\]"),
        ({"p": np.ones(2, np.float32)}, r"cotangent\['p'\] is float32\[2\], the parameter float64\[2\]"),
    ],
)
def test_a_cotangent_that_does_not_fit_is_refused(name, cotangent, sentence):
    problem = InnerProblem(lambda p, m, b: np.sum(p["p"]) * m["lr"], metagrad.optimizers.sgd(0.1))
    run = metagrad.make(name).adapt(problem, INIT, META, BATCHES)
    with pytest.raises(ValueError, match=sentence):
        metagrad.make(name).pullback(problem, run.residuals, META, BATCHES, cotangent)


@pytest.mark.parametrize("name", ["adjoint", "first_order"])
def test_batches_of_another_run_are_refused(name):
    problem = InnerProblem(lambda p, m, b: np.sum(p["p"]) * m["lr"], metagrad.optimizers.sgd(0.1))
    run = metagrad.make(name).adapt(problem, INIT, META, BATCHES)
    with pytest.raises(ValueError, match="residuals hold K = 3 steps, batches 2"):
        metagrad.make(name).pullback(problem, run.residuals, META, {"x": np.ones((2, 4))}, INIT)


def test_the_registry_lists_what_it_knows():
    assert metagrad.make("adjoint", microbatch=2) == metagrad.Adjoint(microbatch=2)
    with pytest.raises(ValueError, match="'adjont' is unknown; choose one of adjoint, .*first_order, .*unroll"):
        metagrad.make("adjont")
    with pytest.raises(
        ValueError, match="'unroll' has no option microbatch; its options are remat, loop, segments, init_grad"
    ):
        metagrad.make("unroll", microbatch=2)
    with pytest.raises(ValueError, match="remat = 'blocks' is unknown"):
        metagrad.make("unroll", remat="blocks")
    with pytest.raises(ValueError, match="loop = 'while' is unknown"):
        metagrad.make("unroll", loop="while")


@pytest.mark.parametrize("name", metagrad.ESTIMATORS)
def test_every_estimator_is_a_value_that_says_what_it_is(name):
    estimator = metagrad.make(name)
    assert hash(estimator) == hash(metagrad.make(name))
    assert isinstance(estimator.exact, bool)
    assert estimator.needs_cotangent == isinstance(estimator, metagrad.CotangentEstimator)
    assert "Memory:" in (type(estimator).__doc__ or "")
