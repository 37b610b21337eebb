"""Our estimators on the problem, compiled ahead of the first call."""

import time
from typing import Any

import jax
import numpy as np

from experiments import problems
from experiments.peers.worker import System
from mass_jax.metagrad import registry
from mass_jax.training.compilation import temp_bytes


def make(
    estimator: str, options: dict[str, Any], model: dict[str, bool], size: problems.Size, steps: int, dtype: str
) -> System:
    """An estimator, ready to be called.

    Args:
      estimator: a key of ``mass_jax.metagrad.registry.ESTIMATORS``.
      options: its options.
      model: ``scan_layers`` and ``remat`` of the transformer.
      size: of the problem.
      steps: K.
      dtype: "float32" or "float64".
    """
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", dtype == "float64")
    jax.config.update("jax_enable_compilation_cache", False)  # the seconds are part of the result
    case = problems.make_case(size, "sgd", steps, dtype=dtype, **model)
    program = jax.jit(registry.make(estimator, **options).value_and_grad(case.problem, case.outer_loss))
    arguments = (case.init, case.meta, case.batches)
    began = time.perf_counter()
    compiled = program.lower(*arguments).compile()
    facts = {"compile_seconds": time.perf_counter() - began, "temp_mb": temp_bytes(compiled) / 1e6}
    return System(lambda: np.asarray(compiled(*arguments)[1].meta["weights"]), facts)
