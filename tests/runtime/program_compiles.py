"""Says whether a slow program came from the cache."""

import jax
import jax.numpy as jnp

from mass_jax.runtime.compilation import enable_compilation_cache

hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None)
jax.block_until_ready(jnp.ones(2) + 1)  # a compilation before the cache is on must not turn it off for good
on = enable_compilation_cache()


@jax.jit
def slow(x):
    for _ in range(400):  # enough to compile for longer than what is not worth keeping, on any machine
        x = jnp.sin(x @ x) + jnp.linalg.norm(x)
    return x


print(on, len(hits), float(slow(jnp.ones((8, 8))).sum()), len(hits) > 0)
