"""The examples of a step spread over two devices, compared with one."""

import jax
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from mass_jax import metagrad
from tests.metagrad import problems

assert len(jax.devices()) == 4
problem, outer = problems.problem_and_outer_loss("adam")

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
