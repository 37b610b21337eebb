"""NaN and infinities, found and named."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.errors import InputError
from mass_jax.parallel import hosts
from mass_jax.runtime import array_tree
from mass_jax.types import Array, PyTree


class NonFiniteError(InputError, FloatingPointError):
    """A value of a run is NaN or infinite; the message names the step, the phase and the leaf.

    A wrong input, because the same command would end the same way: other settings are the way out.
    """


def check_finite(step: int, phase: str, **trees: PyTree) -> None:
    """Raises if any floating leaf holds a NaN or an infinity.

    One compiled reduction a call, fetching one boolean a leaf; on a CPU the host looks itself. It waits for the values
    to be computed.

    Args:
      step: the outer step, for the message.
      phase: the phase of the step, for the message.
      **trees: pytrees by name. Leaves that are not floating (counts, tokens, PRNG keys) are not looked at.

    Raises:
      NonFiniteError: names step, phase, the first such leaf in the order given, its shape, dtype, and how many of its
        values are NaN or infinite.
    """
    paths: list[str] = []
    leaves: list[Any] = []
    for name, tree in trees.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if jnp.issubdtype(getattr(leaf, "dtype", type(leaf)), jnp.inexact):
                paths.append(name + jax.tree_util.keystr(path))
                leaves.append(leaf)
    if not leaves:
        return
    if all(map(array_tree.in_host_memory, leaves)):
        finite = np.array([np.isfinite(leaf).all() for leaf in jax.device_get(leaves)])
    else:
        finite = jax.device_get(_finite(hosts.put(leaves)))
    if finite.all():
        return
    first = int(np.argmin(finite))
    bad = hosts.put(leaves[first])
    nans, infinities = jax.device_get(_counts(bad))
    raise NonFiniteError(
        f"Step {step}, phase '{phase}': {paths[first]} ({bad.dtype}{list(bad.shape)}) holds {nans} NaN and "
        f"{infinities} infinite of {bad.size} values; {int((~finite).sum())} of {len(leaves)} leaves are affected. "
        "Continue from the last checkpoint with a smaller learning rate, or set JAX_DEBUG_NANS=1 to find the operation."
    )


@jax.jit
def _finite(leaves: list[Array]) -> Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves])


@jax.jit
def _counts(leaf: Array) -> tuple[Array, Array]:
    return jnp.isnan(leaf).sum(), jnp.isinf(leaf).sum()
