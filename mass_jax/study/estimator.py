"""The estimator of a config, and whether an inner run can use it."""

import ast
import functools
import inspect
from typing import Literal, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax import metagrad
from mass_jax.fields import is_of
from mass_jax.mass import inner
from mass_jax.mass.method import InnerConfig
from mass_jax.metagrad import optimizers
from mass_jax.study.schema import Metagrad
from mass_jax.types import Array, InnerProblem, Meta, Params, PyTree, Sequences

STAND_IN = 4096
"""Numbers in the adapter that an estimator is tried on; nothing is computed."""


def make_estimator(config: Metagrad) -> metagrad.CotangentEstimator:
    """The estimator of ``config.metagrad``: its name, and its options as a string of Python keywords.

    Raises:
      ValueError: an unknown name or option, options that cannot be read or have no meaning, or an estimator that cannot
        take a cotangent.
    """
    try:
        call = ast.parse(f"options({config.options})", mode="eval").body
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args
        options = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError, AssertionError):
        raise ValueError(
            f"metagrad.options = {config.options!r} cannot be read: write Python keywords with plain values, such as "
            '"window=1, microbatch=2", or leave it empty.'
        ) from None
    if config.name in metagrad.ESTIMATORS:
        hints = get_type_hints(metagrad.ESTIMATORS[config.name])
        for name in options.keys() & hints.keys():
            # Whether it is one of several words, the estimator says better.
            if get_origin(hints[name]) is not Literal and not is_of(hints[name], options[name]):
                raise ValueError(
                    f"metagrad.options = {config.options!r}: {name} = {options[name]!r} is not of the type "
                    f"{inspect.formatannotation(hints[name])}."
                )
    estimator = metagrad.make(config.name, **options)
    if not isinstance(estimator, metagrad.CotangentEstimator):
        able = sorted(name for name, kind in metagrad.ESTIMATORS.items() if kind.needs_cotangent)
        raise ValueError(
            f"metagrad.name = {config.name!r} only compares outer losses, but here the adapted weights sample and are "
            f"graded before the outer loss is known: choose one that takes its gradient, {', '.join(able)}."
        )
    return estimator


@functools.cache
def try_estimator(estimator: metagrad.CotangentEstimator, config: InnerConfig, examples: int) -> None:
    """Trace an estimator on a stand-in for the adapter, with as many examples and steps as the inner run has.

    Raises:
      ValueError: it cannot be used on such a run.
    """
    rows = np.zeros((examples, 1), np.int32)
    batches = inner.schedule(config, Sequences(rows, rows > 0))

    def loss(adapter: Params, meta: Meta, batch: inner.StepBatch) -> Array:
        return jnp.sum(meta["weights"][batch.index_N]) * jnp.sum((adapter - 1.0) ** 2)

    problem = InnerProblem(loss, optimizers.scaled(inner.make_optimizer(config), lambda meta, step: meta["gate"]))

    def both(adapter: Params, meta: Meta) -> PyTree:
        run = estimator.adapt(problem, adapter, meta, batches)
        return estimator.pullback(problem, run.residuals, meta, batches, adapter)

    adapter, weights, gate = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((STAND_IN,), (examples,), ()))
    jax.eval_shape(both, adapter, {"weights": weights, "gate": gate})
