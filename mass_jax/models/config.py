"""The architecture of a decoder: every choice that a family of models makes."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from mass_jax.types import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
}
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched for contexts longer than those of pretraining.

    Attributes:
      kind: ``linear`` divides all frequencies by ``factor``; ``llama3`` only those of long waves, with a smooth
        passage (Llama 3.1's); ``yarn`` likewise, with a passage that is straight in the channel (Peng et al. 2023,
        arXiv 2309.00071).
      factor: the stretch.
      low_freq_factor: llama3: waves longer than ``original_context / low_freq_factor`` are stretched in full.
      high_freq_factor: llama3: waves shorter than ``original_context / high_freq_factor`` are left alone.
      original_context: llama3, yarn: the context of pretraining in tokens.
      beta_fast: yarn: waves that turn at least so often in the original context are left alone.
      beta_slow: yarn: waves that turn at most so often in it are stretched in full.
      truncate: yarn: the passage begins and ends at whole channels.
      attention_factor: yarn: what cosines and sines are multiplied by.
    """

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "llama3", "yarn"):
            raise ValueError(f"rope_scaling.kind = {self.kind!r} is not one of linear, llama3, yarn.")

    def __call__(self, frequencies: Array, theta: float) -> Array:
        """The stretched frequencies, of the shape given; ``theta`` is their base."""
        if self.kind == "linear":
            return frequencies / self.factor
        if self.kind == "yarn":
            kept = 1 - self._passage(len(frequencies), theta).astype(frequencies.dtype)
            return frequencies * (kept + (1 - kept) / self.factor)
        waves_in_context = self.original_context * frequencies / (2 * math.pi)
        kept = (waves_in_context - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        kept = jnp.clip(kept, 0.0, 1.0)
        return frequencies * (kept + (1 - kept) / self.factor)

    def _passage(self, half: int, theta: float) -> Array:
        """How far each of yarn's frequencies is stretched, 0 to 1."""

        def channel(turns: float) -> float:
            return half * math.log(self.original_context / (turns * 2 * math.pi)) / math.log(theta)

        low, high = channel(self.beta_fast), channel(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * half - 1)
        return jnp.clip((jnp.arange(half) - low) / (high - low or 0.001), 0, 1)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture.

    Attributes:
      vocab_size: V.
      width: D, the residual stream.
      layers: L.
      heads: H query heads.
      kv_heads: G key-value heads; must divide ``heads``.
      head_dim: C channels a head; even, because RoPE rotates pairs.
      mlp_width: hidden width of the gated MLP.
      context: the longest sequence in tokens.
      rope_theta: base of the rotary frequencies.
      norm_eps: added to the mean square in RMSNorm.
      tie_embeddings: the output matrix is the transposed embedding.
      scan_layers: `lax.scan` over the stacked layers in place of a Python loop.
      scan_decode: the same while `sampling` writes tokens, where a loop is several times as fast on a CPU.
      remat: recompute the activations of each half of a layer in the backward pass. XLA's CPU compiler merges the
        recomputation of unrolled layers with the first computation again: there it saves memory with ``scan_layers``
        only, or where XLA_FLAGS has ``--xla_disable_hlo_passes=cse_barrier_expander``.
      remat_keeps: which of `PROJECTIONS` have outputs that ``remat`` keeps all the same: with those that are no half's
        last product, most of the memory is saved and most of the arithmetic not done again.
      qkv_bias: the query, key and value projections have a bias (Qwen2).
      qk_norm: queries and keys are normalised over a head's channels before they are rotated (Qwen3, Gemma 3).
      activation: of the MLP's gate, ``silu`` or ``gelu_tanh``.
      norm_plus_one: a norm multiplies by 1 + scale (Gemma).
      post_norms: each half's output is normalised once more before it is added to the residual stream (Gemma).
      embed_scale: what embeddings are multiplied by on the way in (Gemma: sqrt(width)).
      query_scale: what queries are multiplied by; None for head_dim ** -0.5.
      rope_scaling: of the layers that see everything, and of sliding ones that have no ``local_rope_theta``.
      sliding_window: how many tokens a sliding layer sees, the current one included.
      sliding_layers: for every layer, whether it slides; empty where none does.
      local_rope_theta: ``rope_theta`` of sliding layers, which are then not stretched; None for the others' settings.
      loss_chunk: positions whose logits are alive at once in `token_log_probs` and its derivatives; None for all.
      dtype: of the activations and products; None for the parameters'. Norms and log-probabilities are float32 at
        least.
      param_dtype: of the parameters.
    """

    vocab_size: int
    width: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    mlp_width: int = 384
    context: int = 64
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    tie_embeddings: bool = True
    scan_layers: bool = False
    scan_decode: bool = False
    remat: bool = False
    remat_keeps: tuple[str, ...] = ()
    qkv_bias: bool = False
    qk_norm: bool = False
    activation: str = "silu"
    norm_plus_one: bool = False
    post_norms: bool = False
    embed_scale: float = 1.0
    query_scale: float | None = None
    rope_scaling: RopeScaling | None = None
    sliding_window: int | None = None
    sliding_layers: tuple[bool, ...] = ()
    local_rope_theta: float | None = None
    loss_chunk: int | None = None
    dtype: str | None = None
    param_dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(
                f"model.kv_heads = {self.kv_heads} does not divide model.heads = {self.heads}: choose a divisor."
            )
        if self.head_dim % 2:
            raise ValueError(f"model.head_dim = {self.head_dim} is odd, but RoPE rotates pairs: choose an even number.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"model.activation = {self.activation!r} is not one of {', '.join(ACTIVATIONS)}.")
        unknown = set(self.remat_keeps) - set(PROJECTIONS)
        if unknown or isinstance(self.remat_keeps, str):
            raise ValueError(
                f"model.remat_keeps = {self.remat_keeps!r}: give a list of projections among {', '.join(PROJECTIONS)}."
            )
        if self.remat_keeps and not self.remat:
            raise ValueError(
                f"model.remat_keeps = {self.remat_keeps!r} without model.remat, where all is kept: set model.remat, or "
                "leave remat_keeps empty."
            )
        if self.sliding_layers and (len(self.sliding_layers) != self.layers or self.sliding_window is None):
            raise ValueError(
                f"model.sliding_layers has {len(self.sliding_layers)} entries and model.sliding_window is "
                f"{self.sliding_window}: give one entry for each of the {self.layers} layers, and a window."
            )
