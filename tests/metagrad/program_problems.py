"""Problems spread over four devices, compared with one device."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mass_jax import metagrad
from tests.metagrad import problems

assert len(jax.devices()) == 4
problem, outer = problems.problem_and_outer_loss("adam")


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


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
