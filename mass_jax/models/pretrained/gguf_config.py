"""The metadata of a GGUF file as an architecture."""

from collections.abc import Mapping
from typing import Any

from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.families import SWITCHES, described_by, few, of_family
from mass_jax.models.transformer import ModelConfig, RopeScaling


def from_gguf(metadata: Mapping[str, Any], vocab_size: int, tied: bool, where: str) -> ModelConfig:
    """The metadata of a GGUF file in our terms.

    Args:
      metadata: all fields by their names.
      vocab_size: V, as the embedding has it.
      tied: whether the file has no output matrix of its own.
      where: what to call it in an error.

    Raises:
      PretrainedError: as `from_hugging_face`.
    """
    family = metadata.get("general.architecture")
    if family not in SWITCHES:
        raise PretrainedError(f"{where} is of architecture {family!r}; supported are {', '.join(SWITCHES)}.")
    with described_by(where, "metadata field"):

        def field(name: str) -> Any:
            return metadata[f"{family}.{name}"]

        def optional(name: str, default: Any = None) -> Any:
            return metadata.get(f"{family}.{name}", default)

        if optional("rope.scaling.type", "none") not in ("none", "linear"):
            raise PretrainedError(
                f"{where} stretches its context by {optional('rope.scaling.type')!r}; supported is linear."
            )
        width, heads = field("embedding_length"), int(field("attention.head_count"))
        layers = few(int(field("block_count")))
        # GGUF has Gemma's pattern in the program that reads it: every sixth layer sees everything.
        slides = tuple(family == "gemma3" and (i + 1) % 6 != 0 for i in range(layers))
        factor = optional("rope.scaling.factor")
        return ModelConfig(
            vocab_size=vocab_size,
            width=width,
            layers=layers,
            heads=heads,
            kv_heads=optional("attention.head_count_kv", heads),
            head_dim=optional("attention.key_length", width // heads),
            mlp_width=field("feed_forward_length"),
            context=field("context_length"),
            norm_eps=field("attention.layer_norm_rms_epsilon"),
            tie_embeddings=tied,
            rope_theta=optional("rope.freq_base", 1e6 if family == "gemma3" else 10_000.0),
            rope_scaling=None if factor is None else RopeScaling("linear", factor),
            sliding_window=optional("attention.sliding_window") if any(slides) else None,
            sliding_layers=slides if any(slides) else (),
            local_rope_theta=10_000.0 if any(slides) else None,
            **of_family(family, width, None),
        )
