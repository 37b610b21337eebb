"""A tiny random checkpoint whose tokens are single bytes."""

from pathlib import Path

import jax
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mass_jax.models import decoder
from mass_jax.models.config import ModelConfig
from mass_jax.models.pretrained import folder
from mass_jax.models.pretrained.bpe import BpeTokenizer, Settings

SPECIAL = ["<pad>", "<eos>"]


def make_tokenizer() -> BpeTokenizer:
    """258 tokens; no chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate([*SPECIAL, *alphabet])}, []))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"eos_token": "<eos>", "pad_token": "<pad>"}
    return BpeTokenizer(tokenizer, Settings(0, None, 1, [], None, names), eos_id=1)


def write(path: Path, context: int = 512, seed: int = 0) -> None:
    """Tokenizer, config and weights, in Hugging Face's layout."""
    make_tokenizer().save(path)
    config = ModelConfig(258, width=16, layers=2, heads=2, kv_heads=1, head_dim=8, mlp_width=24, context=context)
    folder.write(path, config, decoder.init(config, jax.random.key(seed)))
