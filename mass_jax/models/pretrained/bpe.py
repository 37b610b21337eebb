"""Tokenizers of pretrained models, by the `tokenizers` library, and their chat templates."""

import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox
import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.folder import read_json

TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")
"""Tokens that end a turn in a chat; where the template uses one of them, it ends a completion."""

# How GGUF names the way in which text is cut before byte pairs are merged.
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA_3 = _QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_CONTROL, _USER_DEFINED, _BYTE = 3, 4, 6
"""Kinds of tokens in GGUF."""


class BpeTokenizer:
    """A `mass_jax.types.Tokenizer` with a chat template.

    Attributes:
      pad_id, bos_id, eos_id: see `mass_jax.types.Tokenizer`.
      special_tokens: strings that are read as one special token wherever they stand in a text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        pad_id: int | None,
        bos_id: int | None,
        eos_id: int,
        special_tokens: tuple[str, ...],
        template: str | None,
    ):
        self._tokenizer = tokenizer
        self.pad_id = eos_id if pad_id is None else pad_id
        self.bos_id, self.eos_id, self.special_tokens = bos_id, eos_id, special_tokens
        self._template = template

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included; a model's embedding may have more rows."""
        return self._tokenizer.get_vocab_size()

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` can be called."""
        return self._template is not None

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without BOS and EOS; special tokens in it are read as such."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text up to the first EOS; special tokens are dropped."""
        ids = [int(i) for i in ids]
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def chat(self, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Messages (``role``, ``content``) as the model was taught to read them, without the BOS token.

        Raises:
          PretrainedError: the model has no chat template, or the template refuses the messages.
        """
        if self._template is None:
            raise PretrainedError("this model has no chat template: prompt it as a base model, or choose a chat model.")
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals |= {"raise_exception": _refuse, "strftime_now": datetime.datetime.now().strftime}
        bos = "" if self.bos_id is None else self._tokenizer.id_to_token(self.bos_id)
        eos = self._tokenizer.id_to_token(self.eos_id)
        try:
            text = environment.from_string(self._template).render(
                messages=messages, add_generation_prompt=add_generation_prompt, bos_token=bos, eos_token=eos
            )
        except jinja2.TemplateError as error:
            raise PretrainedError(f"the chat template refuses these messages: {error}.") from None
        return text.removeprefix(bos or "")

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json``, which `from_folder` and transformers read."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._tokenizer.save(str(folder / "tokenizer.json"))
        ids = {"bos_token": self.bos_id, "eos_token": self.eos_id, "pad_token": self.pad_id}
        raw: dict[str, Any] = {k: self._tokenizer.id_to_token(i) for k, i in ids.items() if i is not None}
        raw |= {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        raw |= {} if self._template is None else {"chat_template": self._template}
        (folder / "tokenizer_config.json").write_text(json.dumps(raw, indent=2), encoding="utf-8")


def from_folder(folder: str | os.PathLike[str]) -> BpeTokenizer:
    """The tokenizer of a Hugging Face folder: ``tokenizer.json`` and ``tokenizer_config.json``.

    Raises:
      PretrainedError: a file is missing or damaged, or the end of a text is not named.
    """
    folder = Path(folder)
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise PretrainedError(f"{path} is missing: save the tokenizer with transformers' save_pretrained (fast).")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 (the library raises plain exceptions)
        raise PretrainedError(f"{path} cannot be read ({error}).") from None
    raw = read_json(folder / "tokenizer_config.json")
    template = raw.get("chat_template")
    if isinstance(template, list):
        template = next((each["template"] for each in template if each.get("name") == "default"), None)
    if (folder / "chat_template.jinja").is_file():
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")

    def token(field: str) -> int | None:
        text = raw.get(field)
        text = text.get("content") if isinstance(text, dict) else text
        return None if text is None else tokenizer.token_to_id(text)

    # A BOS token may be named and yet not be used; only what the tokenizer puts first says that the model wants it.
    first = tokenizer.encode("a").ids[:1]
    bos = token("bos_token")
    return _finish(tokenizer, token("pad_token"), bos if first == [bos] else None, token("eos_token"), template, folder)


def from_gguf(metadata: dict[str, Any], where: str) -> BpeTokenizer:
    """The tokenizer in a GGUF file's metadata.

    Args:
      metadata: all fields by name.
      where: what to call the file in an error.

    Raises:
      PretrainedError: fields are missing, or it is of a kind that is not supported.
    """
    try:
        kind = metadata["tokenizer.ggml.model"]
        tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
        eos = int(metadata["tokenizer.ggml.eos_token_id"])
        if kind == "gpt2":
            tokenizer = _byte_level(
                tokens, metadata["tokenizer.ggml.merges"], metadata.get("tokenizer.ggml.pre", "default"), where
            )
        elif kind == "llama":
            tokenizer = _sentence_piece(tokens, metadata["tokenizer.ggml.scores"])
        else:
            raise PretrainedError(f"{where} has a tokenizer of the kind {kind!r}; supported are gpt2 and llama.")
    except KeyError as error:
        raise PretrainedError(f"{where} has no metadata field {error}: its tokenizer is incomplete.") from None
    added = [
        AddedToken(text, special=type_ == _CONTROL, normalized=False)
        for text, type_ in zip(tokens, types, strict=True)
        if type_ in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer.add_special_tokens([token for token in added if token.special])
    tokenizer.add_tokens([token for token in added if not token.special])
    # Where the file does not say, SentencePiece models begin with BOS and byte-level ones do not.
    wants_bos = metadata.get("tokenizer.ggml.add_bos_token", kind == "llama")
    bos = metadata.get("tokenizer.ggml.bos_token_id") if wants_bos else None
    if bos is not None:
        text = tokens[bos]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{text} $A", special_tokens=[(text, bos)])
    pad = metadata.get("tokenizer.ggml.padding_token_id")
    return _finish(tokenizer, pad, bos, eos, metadata.get("tokenizer.chat_template"), where)


def _finish(
    tokenizer: Tokenizer, pad: int | None, bos: int | None, eos: int | None, template: str | None, where: Any
) -> BpeTokenizer:
    if eos is None:
        raise PretrainedError(f"{where} names no end-of-text token: set eos_token in tokenizer_config.json.")
    if template is not None:
        ends = (tokenizer.token_to_id(text) for text in TURN_ENDS if text in template)
        eos = next((end for end in ends if end is not None), eos)
    special = tuple(t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special)
    return BpeTokenizer(tokenizer, pad_id=pad, bos_id=bos, eos_id=eos, special_tokens=special, template=template)


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


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
