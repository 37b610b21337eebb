"""Ancestral and greedy sampling with a key-value cache, one adapter a problem.

Prompts are padded on the right and slot t of the cache is position t, so prompts of different lengths share a batch:
each sequence writes its next token over its own padding. The prompt is read once a problem and its cache repeated for
the S samples.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mass_jax.models import transformer
from mass_jax.models.transformer import KVCache, ModelConfig
from mass_jax.types import Array, Params, PyTree


class Samples(NamedTuple):
    """What `sample` returns.

    Attributes:
      tokens_PxSxT: int32, the new tokens; ``pad_id`` after the stop token.
      log_probs_PxSxT: float32, log-probability of each new token under the model at temperature 1; 0 after the stop.
      mask_PxSxT: bool, True for tokens that were sampled, the stop token included.
    """

    tokens_PxSxT: Array
    log_probs_PxSxT: Array
    mask_PxSxT: Array


@partial(jax.jit, static_argnames=("config", "samples", "max_new_tokens", "stop_id", "pad_id", "adapter_per_problem"))
def sample(
    config: ModelConfig,
    params: Params,
    adapter: PyTree,
    prompts_PxT: Array,
    lengths_P: Array,
    key: Array,
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float | Array,
    stop_id: int,
    pad_id: int = 0,
    adapter_per_problem: bool,
) -> Samples:
    """Draw ``samples`` completions of every prompt.

    Args:
      config: the architecture.
      params: shared base parameters.
      adapter: leaves have a leading axis P where ``adapter_per_problem``; else one adapter for all, or None.
      prompts_PxT: int32, padded on the right.
      lengths_P: int32 number of real tokens in each prompt, at least 1.
      key: PRNG key.
      samples: S.
      max_new_tokens: the most tokens a completion may have.
      temperature: 0 is greedy.
      stop_id: ends a completion.
      pad_id: fills what follows the stop.
      adapter_per_problem: see ``adapter``.

    Raises:
      ValueError: if prompt and completion together exceed ``config.context``.
    """
    problems, prompt_length = prompts_PxT.shape
    temperature = jnp.asarray(temperature, jnp.float32)

    def model(tokens_PxSxT: Array, positions_PxSxT: Array, cache: KVCache) -> tuple[Array, Any]:
        forward = partial(transformer.forward, config, params)
        per_problem = (0 if adapter_per_problem else None, 0, 0, 0)
        return jax.vmap(forward, in_axes=per_problem)(adapter, tokens_PxSxT, positions_PxSxT, cache)

    def choose(hidden_PxSxD: Array, key: Array) -> tuple[Array, Array]:
        log_probs = jax.nn.log_softmax(transformer.logits(config, params, hidden_PxSxD))
        noise = jax.random.gumbel(key, log_probs.shape) * temperature
        token = jnp.argmax(log_probs + noise, axis=-1)  # Gumbel-max: at temperature 0 the noise is 0 and this is greedy
        return token, jnp.take_along_axis(log_probs, token[..., None], axis=-1)[..., 0]

    one_cache = transformer.init_cache(config, 1, prompt_length + max_new_tokens)
    cache = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (problems, *leaf.shape)), one_cache)
    positions = jnp.broadcast_to(jnp.arange(prompt_length), (problems, 1, prompt_length))
    hidden, cache = model(prompts_PxT[:, None], positions, cache)
    last = jnp.take_along_axis(hidden, (lengths_P - 1)[:, None, None, None], axis=2)[:, :, 0]
    cache = jax.tree.map(lambda leaf: jnp.repeat(leaf, samples, axis=2), cache)  # [P, L, S, T, G, C]
    first_key, loop_key = jax.random.split(key)
    token, log_prob = choose(jnp.repeat(last, samples, axis=1), first_key)

    shape = (problems, samples, max_new_tokens)
    state = (
        jnp.zeros((), jnp.int32),
        token,
        log_prob,
        jnp.zeros((problems, samples), bool),
        KVCache(*cache),
        Samples(jnp.full(shape, pad_id, jnp.int32), jnp.zeros(shape), jnp.zeros(shape, bool)),
    )

    def unfinished(state: tuple) -> Array:
        step, _, _, done, _, _ = state
        return (step < max_new_tokens) & ~jnp.all(done)

    def body(state: tuple) -> tuple:
        step, token, log_prob, done, cache, out = state
        out = Samples(
            out.tokens_PxSxT.at[..., step].set(jnp.where(done, pad_id, token)),
            out.log_probs_PxSxT.at[..., step].set(jnp.where(done, 0.0, log_prob)),
            out.mask_PxSxT.at[..., step].set(~done),
        )
        done = done | (token == stop_id)
        positions = jnp.broadcast_to((lengths_P + step)[:, None], token.shape)
        hidden, cache = model(token[..., None], positions[..., None], cache)
        token, log_prob = choose(hidden[:, :, 0], jax.random.fold_in(loop_key, step))
        return step + 1, token, log_prob, done, cache, out

    return jax.lax.while_loop(unfinished, body, state)[-1]
