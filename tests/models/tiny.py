"""Models small enough to test, with parameters far from the symmetry of a fresh initialisation.

Parameters are drawn with NumPy, and programs compiled without optimisation: at this size, compiling JAX's random number
generator and optimising the model would be nearly all of the time.
"""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.models import decoder, lora
from mass_jax.models.config import ModelConfig

CONFIG = ModelConfig(vocab_size=19, width=16, layers=2, heads=4, kv_heads=2, head_dim=6, mlp_width=24, context=32)
variant = dataclasses.replace
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def _drawn(shapes, seed, scale):
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if "norm" in jax.tree_util.keystr(path):
            return jnp.asarray(np.exp(0.3 * rng.normal(size=leaf.shape)), leaf.dtype)
        return jnp.asarray(scale(leaf.shape) * rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@cache
def _shapes(config):
    return jax.eval_shape(lambda: decoder.init(config, jax.random.key(0)))


def make_params(config=CONFIG, seed=0):
    """Parameters with an uneven next-token distribution, and norm scales other than 1."""
    return _drawn(_shapes(config), seed, lambda shape: shape[-2] ** -0.5 if len(shape) == 3 else 0.5)


def make_adapter(params, seed=0, rank=3, targets=".*_proj"):
    """An adapter in the middle of training: b is not 0."""
    shapes = jax.eval_shape(lambda: lora.init(lora.LoraConfig(rank, targets), params, jax.random.key(0)))
    return _drawn(shapes, seed, lambda shape: 0.4)


def make_tokens(batch=3, length=11, seed=0):
    return np.random.default_rng(seed).integers(3, CONFIG.vocab_size, (batch, length))


def stack(adapters):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *adapters)


@partial(quick_jit, static_argnames="config")
def hidden_states(config, params, adapter, tokens):
    """Hidden states [B, T, D] of a full forward pass."""
    return decoder.forward(config, params, adapter, tokens)[0]


@partial(quick_jit, static_argnames="config")
def log_probs(config, params, adapter, tokens):
    """Log-probabilities [B, T, V] of a full forward pass."""
    hidden, _ = decoder.forward(config, params, adapter, tokens)
    return jax.nn.log_softmax(decoder.logits(config, params, hidden))


token_log_probs = quick_jit(decoder.token_log_probs, static_argnames="config")
