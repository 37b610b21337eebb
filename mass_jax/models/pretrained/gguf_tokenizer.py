"""Tokenizers of GGUF files: what their metadata say, as the `tokenizers` library has it."""

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from mass_jax.models.pretrained.bpe import BpeTokenizer, finish
from mass_jax.models.pretrained.errors import PretrainedError

# How GGUF names the way in which text is cut before byte pairs are merged.
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA_3 = _QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_CONTROL, _USER_DEFINED = 3, 4
"""Kinds of tokens in GGUF."""


def from_gguf(metadata: Mapping[str, Any], where: str) -> BpeTokenizer:
    """The tokenizer in a GGUF file's metadata.

    Args:
      metadata: all fields by name.
      where: what to call the file in an error.

    Raises:
      PretrainedError: fields are missing or contradict each other, or it is of a kind that is not supported.
    """
    try:
        kind, pre = metadata["tokenizer.ggml.model"], metadata.get("tokenizer.ggml.pre", "default")
        tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
        if kind == "gpt2":
            tokenizer = _byte_level(tokens, metadata["tokenizer.ggml.merges"], pre, where)
        elif kind == "llama" and metadata.get("tokenizer.ggml.add_space_prefix", True):
            raise PretrainedError(
                f"{where} has a SentencePiece tokenizer that puts a space before a text, as Llama 2's does; supported "
                "is Gemma's, which does not: give the model's folder in Hugging Face's layout."
            )
        elif kind == "llama":
            tokenizer = _sentence_piece(tokens, metadata["tokenizer.ggml.scores"])
        else:
            raise PretrainedError(f"{where} has a tokenizer of the kind {kind!r}; supported are gpt2 and llama.")
        # Control tokens are found in the text as written. A user's may hold spaces, and are found in what the
        # normaliser makes of the text.
        added = [
            AddedToken(text, special=type_ == _CONTROL, normalized=type_ == _USER_DEFINED)
            for text, type_ in zip(tokens, types, strict=True)
            if type_ in (_CONTROL, _USER_DEFINED)
        ]
        tokenizer.add_special_tokens([token for token in added if token.special])
        tokenizer.add_tokens([token for token in added if not token.special])
        ids = {
            f"{name}_token": int(metadata[f"tokenizer.ggml.{field}_token_id"])
            for name, field in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown"))
            if f"tokenizer.ggml.{field}_token_id" in metadata
        }
        names = {name: tokens[i] for name, i in ids.items()}
        # Where the file does not say, SentencePiece models and Llama 3 begin with BOS and others do not.
        wants_bos = metadata.get("tokenizer.ggml.add_bos_token", kind == "llama" or pre == "llama-bpe")
        bos = ids.get("bos_token") if wants_bos else None
        if bos is not None:  # which is how a saved tokenizer says so
            text = tokens[bos]
            tokenizer.post_processor = processors.TemplateProcessing(single=f"{text} $A", special_tokens=[(text, bos)])
    except KeyError as error:
        raise PretrainedError(f"{where} has no metadata field {error}: its tokenizer is incomplete.") from None
    except PretrainedError:
        raise
    except Exception as error:  # noqa: BLE001 (the library raises plain exceptions)
        raise PretrainedError(f"{where} describes a tokenizer that cannot be ({error}): get it again.") from None
    template = metadata.get("tokenizer.chat_template")
    return finish(tokenizer, ids.get("pad_token"), bos, ids.get("eos_token"), [], template, names, where)


def _byte_level(tokens: list[str], merges: list[str], pre: str, where: str) -> Tokenizer:
    """Byte pairs over bytes written as characters (GPT-2's), cut as ``pre`` says."""

    def split(pattern: str) -> list[Any]:
        return [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    cuts: dict[str, list[Any]] = {
        "smollm": [pre_tokenizers.Digits(individual_digits=True), byte_level],
        "gpt-2": [byte_level],
        "default": [byte_level],
        "qwen2": split(_QWEN),
        "llama-bpe": split(_LLAMA_3),
    }
    if pre not in cuts:
        raise PretrainedError(f"{where} cuts its text by {pre!r}; supported are {', '.join(cuts)}.")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    # Llama 3 takes a whole word that is in the vocabulary without merging.
    tokenizer = Tokenizer(models.BPE(vocabulary, pairs, ignore_merges=pre == "llama-bpe"))
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts[pre])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_piece(tokens: list[str], scores: list[float]) -> Tokenizer:
    """SentencePiece's byte pairs: any two neighbours whose union is a token merge, the best score first."""
    vocabulary = {token: i for i, token in enumerate(tokens)}
    pairs = []
    for token, i in vocabulary.items():
        local = [
            (token[:cut], token[cut:])
            for cut in range(1, len(token))
            if token[:cut] in vocabulary and token[cut:] in vocabulary
        ]
        local.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
        pairs += [(-scores[i], pair) for pair in local]
    pairs.sort(key=lambda scored: scored[0])
    tokenizer = Tokenizer(
        models.BPE(vocabulary, [pair for _, pair in pairs], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer
