"""The same meta-gradients on one device, with problems spread over four, and with a step's examples spread over two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: the number of devices is fixed when the backend starts.
START = """
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

jax.config.update("jax_enable_x64", True)
from mass_jax import metagrad
from tests.metagrad import problems

assert len(jax.devices()) == 4
problem, outer = problems.problem_and_outer_loss("adam")
"""

PROBLEMS = """
stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
arguments = (
    stack([problems.fresh_lora(seed) for seed in range(4)]),
    stack([problems.make_meta(0.05, seed) for seed in range(4)]),
    stack([problems.make_batches(2, seed) for seed in range(4)]),
)
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
spread = jax.device_put(arguments, NamedSharding(mesh, PartitionSpec("data")))
for name, options in {"adjoint": {"microbatch": 2}, "mixed_mode": {}, "unroll": {}, "implicit": {}}.items():
    run = problems.quick_jit(jax.vmap(metagrad.make(name, **options).value_and_grad(problem, outer)))
    alone, shared = run(*arguments), run(*spread)
    assert len(shared[1].meta["weights_KxN"].sharding.device_set) == 4, name
    for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(shared), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14, err_msg=name)
print("equal")
"""

EXAMPLES = """
arguments = (problems.fresh_lora(), problems.make_meta(0.05), problems.make_batches(2))
mesh = jax.make_mesh((2,), ("examples",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
whole = PartitionSpec()
split = {name: PartitionSpec(None, "examples") if leaf.ndim > 1 else whole for name, leaf in arguments[2].items()}
spread = problem._replace(axis="examples")
for name, options in {
    "adjoint": {"microbatch": 1, "init_grad": True},
    "mixed_mode": {"microbatch": 1},
    "unroll": {},
    "forward": {},
    "truncated": {"window": 1},
    "first_order": {},
    "implicit": {},
    "finite_difference": {},
    "evolution": {},
}.items():
    estimator = metagrad.make(name, **options)
    alone = problems.quick_jit(estimator.value_and_grad(problem, outer))(*arguments)
    run = jax.shard_map(
        estimator.value_and_grad(spread, outer), mesh=mesh, in_specs=(whole, whole, split), out_specs=whole
    )
    shared = problems.quick_jit(run)(*arguments)
    # Differences divide the rounding of sums in another order by epsilon.
    tolerance = 1e-10 if name != "finite_difference" else 1e-7
    for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(shared), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=1e-13, err_msg=name)
print("equal")
"""


@pytest.mark.parametrize("program", [PROBLEMS, EXAMPLES], ids=["problems over four", "examples over two"])
def test_devices_share_the_work_and_give_what_one_gives(program):
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", START + program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "equal"
