"""Our estimators on the problem, compiled ahead of the first call."""

import os
import time
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from experiments.benchmarks import problems
from experiments.benchmarks.peers.worker import System
from mass_jax.metagrad import registry
from mass_jax.runtime.compilation import temp_bytes


def make(
    estimator: str,
    options: dict[str, Any],
    model: dict[str, Any],
    devices: int,
    threads: int,
    size: problems.Size,
    steps: int,
    dtype: str,
) -> System:
    """An estimator, ready to be called.

    Args:
      estimator: a key of ``mass_jax.metagrad.registry.ESTIMATORS``.
      options: its options.
      model: ``remat`` and ``remat_keeps`` of the transformer, whose layers are a loop in Python.
      devices: over which the examples of every step are spread.
      threads: of all devices together.
      size: of the problem.
      steps: K.
      dtype: "float32" or "float64".
    """
    os.environ["NPROC"] = str(threads // devices)  # XLA's name for the number of threads that it may make
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_enable_x64", dtype == "float64")
    jax.config.update("jax_enable_compilation_cache", False)  # the seconds are part of the result
    case = problems.make_case(size, "sgd", steps, dtype=dtype, scan_layers=False, **model)
    mesh = jax.make_mesh((devices,), ("examples",), axis_types=(AxisType.Auto,))
    shared = PartitionSpec()
    split = {name: PartitionSpec(None, "examples") if leaf.ndim > 1 else shared for name, leaf in case.batches.items()}
    program = registry.make(estimator, **options).value_and_grad(
        case.problem._replace(axis="examples"), case.outer_loss
    )
    program = jax.jit(jax.shard_map(program, mesh=mesh, in_specs=(shared, shared, split), out_specs=shared))
    arguments = jax.device_put((case.init, case.meta, case.batches), NamedSharding(mesh, shared))
    began = time.perf_counter()
    compiled = program.lower(*arguments).compile()
    facts = {"compile_seconds": time.perf_counter() - began, "temp_mb": temp_bytes(compiled) / 1e6}
    return System(lambda: np.asarray(compiled(*arguments)[1].meta["weights"]), facts)
