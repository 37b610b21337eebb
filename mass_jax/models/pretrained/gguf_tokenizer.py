"""Tokenizers of GGUF files: what their metadata say, as the `tokenizers` library has it."""

import functools
import math
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from mass_jax.models.pretrained.bpe import BpeTokenizer, Settings, finish
from mass_jax.models.pretrained.errors import PretrainedError

# How GGUF names the way in which text is cut before byte pairs are merged.
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA_3 = _QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_CONTROL, _USER_DEFINED = 3, 4
"""Kinds of tokens in GGUF."""
_BY_FAMILY = {"qwen2": "qwen2", "qwen3": "qwen2"}
"""How families cut their text, where a file does not say: of the others there are several."""
_MOST_LETTERS = 1024
"""In a token; those of real models have at most some hundred."""
_READ = ("model", "pre", "tokens", "token_type", "merges", "scores")
_READ_FLAGS = ("add_bos_token", "add_eos_token", "add_sep_token", "add_space_prefix")
_SPECIAL = ("bos", "eos", "unknown", "padding", "eot", "eom", "separator", "seperator", "mask", "cls")
"""Tokens that a file may give the ids of; most are of no use here."""
_INFILL = ("prefix", "suffix", "middle", "fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep")
"""Likewise, of models that fill gaps in code."""


def from_gguf(metadata: Mapping[str, Any], where: str) -> BpeTokenizer:
    """The tokenizer in a GGUF file's metadata.

    Args:
      metadata: all fields by name.
      where: what to call the file in an error.

    Raises:
      PretrainedError: fields are missing, unknown, of another type or contradict each other, or it is of a kind that is
        not supported.
    """
    fields = _Fields(metadata, where)
    kind, pre = fields.text("model"), fields.cut()
    tokens, types = fields.tokens, fields.numbers("token_type", int)
    if kind == "llama" and fields.flag("add_space_prefix", True):
        raise PretrainedError(
            f"{where} has a SentencePiece tokenizer that puts a space before a text, as Llama 2's does; supported "
            "is Gemma's, which does not: give the model's folder in Hugging Face's layout."
        )
    ids = {name: fields.id_of(name) for name in _SPECIAL if f"tokenizer.ggml.{name}_token_id" in metadata}
    try:
        if kind == "gpt2":
            tokenizer = _byte_level(tokens, fields.merges(), pre, where)
        elif kind == "llama":
            tokenizer = _sentence_piece(tokens, fields.numbers("scores", float))
        else:
            raise PretrainedError(f"{where} has a tokenizer of the kind {kind[:80]!r}; supported are gpt2 and llama.")
        # Control tokens are found in the text as written. A user's may hold spaces, and are found in what the
        # normaliser makes of the text.
        added = [
            AddedToken(text, special=type_ == _CONTROL, normalized=type_ == _USER_DEFINED)
            for text, type_ in zip(tokens, types, strict=True)
            if type_ in (_CONTROL, _USER_DEFINED)
        ]
        tokenizer.add_special_tokens([token for token in added if token.special])
        tokenizer.add_tokens([token for token in added if not token.special])
        # Where the file does not say, SentencePiece models and Llama 3 begin with BOS and others do not.
        wants_bos = fields.flag("add_bos_token", kind == "llama" or pre == "llama-bpe")
        bos = ids.get("bos") if wants_bos else None
        if bos is not None:  # which is how a saved tokenizer says so
            text = tokens[bos]
            tokenizer.post_processor = processors.TemplateProcessing(single=f"{text} $A", special_tokens=[(text, bos)])
    except PretrainedError:
        raise
    except Exception as error:  # noqa: BLE001 (the library raises plain exceptions)
        raise PretrainedError(f"{where} describes a tokenizer that cannot be ({error}): get it again.") from None
    fields.refuse_others()
    short = {"bos": "bos_token", "eos": "eos_token", "padding": "pad_token", "unknown": "unk_token"}
    names = {short[name]: tokens[i] for name, i in ids.items() if name in short}
    turns = [ids[name] for name in ("eot", "eom") if name in ids]
    ends = [ids["eos"], *turns] if turns and "eos" in ids else turns
    settings = Settings(ids.get("padding"), bos, ids.get("eos"), ends, fields.template(), names)
    return finish(tokenizer, settings, where)


class _Fields:
    """The tokenizer's fields of a file, each of its type or refused."""

    def __init__(self, metadata: Mapping[str, Any], where: str):
        self._metadata, self._where = metadata, where

    def text(self, name: str) -> str:
        return self._typed(name, str, "text")

    def flag(self, name: str, default: bool) -> bool:
        return self._typed(name, bool, "a truth value") if f"tokenizer.ggml.{name}" in self._metadata else default

    def numbers(self, name: str, type_: type[int] | type[float]) -> list[Any]:
        """One finite number a token."""
        found = self._typed(name, list, "a list")
        if len(found) != len(self.tokens) or not all(type(n) is type_ and math.isfinite(n) for n in found):
            raise self._cannot_be(f"{name} is not one {type_.__name__} for each of {len(self.tokens)} tokens")
        return found

    @functools.cached_property
    def tokens(self) -> list[str]:
        found = self._texts("tokens")
        if not found or len(set(found)) < len(found) or not all(0 < len(token) <= _MOST_LETTERS for token in found):
            raise self._cannot_be(
                f"tokens are {len(found)} texts, not each another one of 1 to {_MOST_LETTERS} letters and distinct"
            )
        return found

    def merges(self) -> list[tuple[str, str]]:
        known, pairs = set(self.tokens), []
        for merge in self._texts("merges"):
            left, _, right = merge.partition(" ")
            if not {left, right, left + right} <= known:
                raise self._cannot_be(f"merges hold {merge[:80]!r}, but these and what they make are not all tokens")
            pairs.append((left, right))
        return pairs

    def id_of(self, name: str) -> int:
        found = self._typed(f"{name}_token_id", int, "a whole number")
        if not 0 <= found < len(self.tokens):
            raise self._cannot_be(f"{name}_token_id is {found}, but there are {len(self.tokens)} tokens")
        return found

    def cut(self) -> str:
        """How text is cut before it is merged; of a SentencePiece model, which does not cut, whatever it says."""
        pre = self.text("pre") if "tokenizer.ggml.pre" in self._metadata else "default"
        if self.text("model") != "gpt2" or pre != "default":
            return pre
        family = self._metadata.get("general.architecture")
        if not isinstance(family, str) or family not in _BY_FAMILY:
            raise PretrainedError(
                f"{self._where} does not say how its text is cut (tokenizer.ggml.pre), and there are several ways in a "
                f"{family!r}: convert the model again, or give its folder in Hugging Face's layout."
            )
        return _BY_FAMILY[family]

    def template(self) -> str | None:
        name = "tokenizer.chat_template"
        found = self._metadata.get(name)
        if found is not None and not isinstance(found, str):
            raise self._cannot_be(f"{name} is {str(found)[:80]}, not text")
        return found

    def refuse_others(self) -> None:
        """Refuse what would change the ids of a text and is not read."""
        read = {*_READ, *_READ_FLAGS, *(f"{name}_token_id" for name in (*_SPECIAL, *_INFILL))}
        for name in self._metadata:
            head, _, rest = name.partition("tokenizer.ggml.")
            # Templates of other names, and a copy of tokenizer.json, are spare.
            spare = name.startswith("tokenizer.chat_template") or name == "tokenizer.huggingface.json"
            if name.startswith("tokenizer.") and not spare and (head or rest not in read):
                raise PretrainedError(
                    f"{self._where} has the metadata field {name[:80]}, which is not known here and may change the ids "
                    "of a text: give the model's folder in Hugging Face's layout."
                )
        for name in ("add_eos_token", "add_sep_token"):
            if self.flag(name, False):
                raise PretrainedError(
                    f"{self._where} sets tokenizer.ggml.{name}, which would end every prompt with a token that ends a "
                    "text: choose a model that writes text."
                )

    def _texts(self, name: str) -> list[str]:
        found = self._typed(name, list, "a list")
        if found and not isinstance(found[0], str):  # of a file, all are of one type
            raise self._cannot_be(f"{name} is a list of {type(found[0]).__name__}")
        return found

    def _typed(self, name: str, type_: type, noun: str) -> Any:
        name = f"tokenizer.ggml.{name}"
        if name not in self._metadata:
            raise PretrainedError(f"{self._where} has no metadata field {name!r}: its tokenizer is incomplete.")
        found = self._metadata[name]
        if type(found) is not type_:
            raise self._cannot_be(f"{name} is {str(found)[:80]}, not {noun}")
        return found

    def _cannot_be(self, what: str) -> PretrainedError:
        return PretrainedError(f"{self._where} describes a tokenizer that cannot be ({what}): get it again.")


def _byte_level(tokens: list[str], merges: list[tuple[str, str]], pre: str, where: str) -> Tokenizer:
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
        "qwen2": split(_QWEN),
        "llama-bpe": split(_LLAMA_3),
    }
    if pre not in cuts:
        raise PretrainedError(f"{where} cuts its text by {pre[:80]!r}; supported are {', '.join(cuts)}.")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    # Llama 3 takes a whole word that is in the vocabulary without merging.
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre == "llama-bpe"))
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts[pre])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_piece(tokens: list[str], scores: list[float]) -> Tokenizer:
    """SentencePiece's byte pairs: any two neighbours whose union is a token merge, the best score first."""
    vocabulary = {token: i for i, token in enumerate(tokens)}
    if "<unk>" not in vocabulary:
        raise ValueError("it has no token <unk>")
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
