"""Our estimators on the problem, compiled ahead of the first call."""

import time
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from experiments import problems
from experiments.peers.worker import System
from mass_jax.metagrad import registry
from mass_jax.training.compilation import temp_bytes
from mass_jax.types import Array, Batch, InnerProblem, Meta, Params


def make(
    estimator: str,
    options: dict[str, Any],
    model: dict[str, bool],
    devices: int,
    size: problems.Size,
    steps: int,
    dtype: str,
) -> System:
    """An estimator, ready to be called.

    Args:
      estimator: a key of ``mass_jax.metagrad.registry.ESTIMATORS``.
      options: its options.
      model: ``scan_layers`` and ``remat`` of the transformer.
      devices: over which the examples of every microbatch are split.
      size: of the problem.
      steps: K.
      dtype: "float32" or "float64".
    """
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_enable_x64", dtype == "float64")
    jax.config.update("jax_enable_compilation_cache", False)  # the seconds are part of the result
    case = problems.make_case(size, "sgd", steps, dtype=dtype, **model)
    mesh = jax.make_mesh((devices,), ("examples",), axis_types=(AxisType.Auto,))
    problem = over_examples(case.problem, NamedSharding(mesh, PartitionSpec("examples")))
    program = jax.jit(registry.make(estimator, **options).value_and_grad(problem, case.outer_loss))
    arguments = jax.device_put((case.init, case.meta, case.batches), NamedSharding(mesh, PartitionSpec()))
    began = time.perf_counter()
    compiled = program.lower(*arguments).compile()
    facts = {"compile_seconds": time.perf_counter() - began, "temp_mb": temp_bytes(compiled) / 1e6}
    return System(lambda: np.asarray(compiled(*arguments)[1].meta["weights"]), facts)


def over_examples(problem: InnerProblem, sharding: NamedSharding) -> InnerProblem:
    """The same problem, with the examples that its loss is given at a time laid out as ``sharding`` says."""

    def loss(params: Params, meta: Meta, batch: Batch) -> Array:
        batch = jax.tree.map(
            lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding) if leaf.ndim else leaf, batch
        )
        return problem.loss(params, meta, batch)

    return problem._replace(loss=loss)
