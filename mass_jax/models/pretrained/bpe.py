"""Tokenizers of pretrained models, by the `tokenizers` library, and their chat templates."""

import copy
import datetime
import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
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
_CONTROL, _USER_DEFINED = 3, 4
"""Kinds of tokens in GGUF."""


class BpeTokenizer:
    """A `mass_jax.types.Tokenizer` with a chat template.

    Attributes:
      pad_id: see `mass_jax.types.Tokenizer`.
      bos_id: likewise.
      eos_id: what ends an assistant's turn where the model is one for chats; else the end of a text.
      vocab_size: one more than the highest id; a model's embedding may have more rows.
      special_tokens: strings that are read as one special token wherever they stand in a text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        pad_id: int | None,
        bos_id: int | None,
        eos_id: int,
        template: str | None,
        names: dict[str, str],
    ):
        """Args are as `from_folder` finds them; ``names`` are the tokens that a template may mention."""
        self._tokenizer = tokenizer
        self.pad_id = eos_id if pad_id is None else pad_id
        self.bos_id, self.eos_id = bos_id, eos_id
        self.vocab_size = 1 + max(tokenizer.get_vocab().values())
        added = sorted(tokenizer.get_added_tokens_decoder().items())
        self.special_tokens = tuple(token.content for _, token in added if token.special)
        self._template, self._names = template, names

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` can be called."""
        return self._template is not None

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without BOS and EOS; special tokens in it are read as such."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text up to the first EOS; special tokens are dropped."""
        listed = np.asarray(ids).tolist()  # at once: one by one, each would be a transfer from the device
        if self.eos_id in listed:
            listed = listed[: listed.index(self.eos_id)]
        return self._tokenizer.decode(listed, skip_special_tokens=True)

    def chat(self, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Messages as the model was taught to read them, without the BOS token.

        Args:
          messages: each with a ``role`` (system, user, assistant) and a ``content``.
          add_generation_prompt: end with the opening of the assistant's next turn.

        Raises:
          PretrainedError: the model has no chat template, or the template refuses the messages.
        """
        if self._template is None:
            raise PretrainedError("this model has no chat template: prompt it as a base model, or choose a chat model.")
        try:
            text = self._render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
                **self._names,
            )
        except Exception as error:  # noqa: BLE001 (a template is a program of other people's making)
            raise PretrainedError(
                f"the chat template refuses these messages ({error}): change their roles or order."
            ) from None
        bos = None if self.bos_id is None else self._tokenizer.id_to_token(self.bos_id)
        return text.removeprefix(bos or "")

    def ending_with(self, text: str) -> "BpeTokenizer":
        """The same tokenizer for completions that end with ``text``, which takes its place as EOS.

        Raises:
          PretrainedError: the text is not one token.
        """
        ids = self.encode(text)
        if len(ids) != 1:
            raise PretrainedError(f"{text!r} is {len(ids)} tokens of this model: a completion must end with one token.")
        other = copy.copy(self)
        other.eos_id = ids[0]
        return other

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the files that `from_folder` and transformers read."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._tokenizer.save(str(folder / "tokenizer.json"))
        named = self._names | {
            field: self._tokenizer.id_to_token(i)
            for field, i in (("eos_token", self.eos_id), ("pad_token", self.pad_id))
        }
        raw: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        raw |= named | ({} if self._template is None else {"chat_template": self._template})
        ends = {"eos_token_id": self.eos_id, "pad_token_id": self.pad_id}
        for name, content in (("tokenizer_config.json", raw), ("generation_config.json", ends)):
            (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")

    @functools.cached_property
    def _render(self) -> Callable[..., str]:
        # As transformers sets it up, so that templates written for it read the same; in a sandbox, because they come
        # with the weights.
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
        environment.globals |= {
            "raise_exception": _refuse,
            "strftime_now": lambda form: datetime.datetime.now().strftime(form),
        }
        return environment.from_string(self._template or "").render


def from_folder(folder: str | os.PathLike[str]) -> BpeTokenizer:
    """The tokenizer of a Hugging Face folder: ``tokenizer.json``, ``tokenizer_config.json``, and what is beside them.

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
        raise PretrainedError(f"{path} cannot be read ({error}): the download is incomplete.") from None
    # Settings of whoever saved it: a text is never cut or filled here.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    raw = read_json(folder / "tokenizer_config.json")
    names = {}
    for field in ("bos_token", "eos_token", "pad_token", "unk_token"):
        name = raw.get(field)
        name = name.get("content") if isinstance(name, dict) else name
        if isinstance(name, str):
            names[field] = name
    ids = {field: tokenizer.token_to_id(name) for field, name in names.items()}
    ends: list[int] = []
    if (folder / "generation_config.json").is_file():
        listed = read_json(folder / "generation_config.json").get("eos_token_id")
        ends = listed if isinstance(listed, list) else [] if listed is None else [listed]
    # A BOS token may be named and yet not be used; only what the tokenizer puts first says that the model wants it.
    bos = ids.get("bos_token")
    bos = bos if tokenizer.encode("a").ids[:1] == [bos] else None
    eos = ids.get("eos_token", ends[0] if ends else None)
    return _finish(tokenizer, ids.get("pad_token"), bos, eos, ends, _folder_template(folder, raw), names, str(folder))


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
    return _finish(tokenizer, ids.get("pad_token"), bos, ids.get("eos_token"), [], template, names, where)


def _finish(
    tokenizer: Tokenizer,
    pad: int | None,
    bos: int | None,
    eos: int | None,
    ends: list[int],
    template: str | None,
    names: dict[str, str],
    where: str,
) -> BpeTokenizer:
    """``ends``: where not empty, what ends a generation; a template alone does not make a chat model."""
    if template is not None:
        turns = [tokenizer.token_to_id(text) for text in TURN_ENDS if text in template]
        eos = next((turn for turn in turns if turn is not None and (not ends or turn in ends)), eos)
    if eos is None:
        raise PretrainedError(
            f"{where} names no end-of-text token that it has (eos_token: {names.get('eos_token')!r}): set eos_token in "
            "tokenizer_config.json."
        )
    return BpeTokenizer(tokenizer, pad_id=pad, bos_id=bos, eos_id=eos, template=template, names=names)


def _folder_template(folder: Path, raw: dict[str, Any]) -> str | None:
    """A file of its own comes first; of several templates, the default one counts."""
    path = folder / "chat_template.jinja"
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise PretrainedError(f"{path} cannot be read ({error}): the download is incomplete.") from None
    template = raw.get("chat_template")
    if isinstance(template, list):
        named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


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
