"""The same meta-gradients on one device and with the problems spread over four."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: the number of devices is fixed when the backend starts.
PROGRAM = """
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

jax.config.update("jax_enable_x64", True)
from mass_jax import metagrad
from tests.metagrad import problems

assert len(jax.devices()) == 4
problem, outer = problems.problem_and_outer_loss("adam")
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


def test_four_devices_give_what_one_gives():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "equal"
