"""Our estimators on the problem, compiled ahead of the first call."""

import os
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from experiments.benchmarks import problems
from experiments.benchmarks.peers.worker import System
from mass_jax.metagrad import registry
from mass_jax.runtime.compilation import temp_bytes


class Entry(NamedTuple):
    """One of our rows.

    Attributes:
      name: in the table.
      estimator: its name in the registry.
      options: its options.
      model: ``remat`` and ``remat_keeps`` of the transformer, whose layers are a loop in Python.
      devices: over which the examples of a step are spread: one a core, or one with a thread a core.
    """

    name: str
    estimator: str
    options: dict[str, Any]
    model: dict[str, Any]
    devices: int = 2


def make(entry: Entry, threads: int, size: problems.Size, steps: int, dtype: str) -> System:
    """An estimator, ready to be called.

    Args:
      entry: which.
      threads: of all devices together.
      size: of the problem.
      steps: K.
      dtype: "float32" or "float64".
    """
    os.environ["NPROC"] = str(threads // entry.devices)  # XLA's name for the number of threads that it may make
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", entry.devices)
    jax.config.update("jax_enable_x64", dtype == "float64")
    jax.config.update("jax_enable_compilation_cache", False)  # the seconds are part of the result
    case = problems.make_case(size, "sgd", steps, dtype=dtype, scan_layers=False, **entry.model)
    mesh = jax.make_mesh((entry.devices,), ("examples",), axis_types=(AxisType.Auto,))
    shared = PartitionSpec()
    split = {name: PartitionSpec(None, "examples") if leaf.ndim > 1 else shared for name, leaf in case.batches.items()}
    program = registry.make(entry.estimator, **entry.options).value_and_grad(
        case.problem._replace(axis="examples"), case.outer_loss
    )
    program = jax.jit(jax.shard_map(program, mesh=mesh, in_specs=(shared, shared, split), out_specs=shared))
    arguments = jax.device_put((case.init, case.meta, case.batches), NamedSharding(mesh, shared))
    began = time.perf_counter()
    compiled = program.lower(*arguments).compile()
    facts = {"compile_seconds": time.perf_counter() - began, "temp_mb": temp_bytes(compiled) / 1e6}
    return System(lambda: np.asarray(compiled(*arguments)[1].meta["weights"]), facts)
