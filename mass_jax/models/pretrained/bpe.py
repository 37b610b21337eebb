"""Tokenizers of pretrained models, by the `tokenizers` library, and their chat templates."""

import copy
import datetime
import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox
import numpy as np
from tokenizers import Tokenizer

from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.folder import read_json

TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")
"""Tokens that end a turn in a chat; where the template uses one of them, it ends a completion."""


class BpeTokenizer:
    """A `mass_jax.types.Tokenizer` with a chat template.

    Attributes:
      pad_id: see `mass_jax.types.Tokenizer`.
      bos_id: likewise.
      eos_id: what ends an assistant's turn where the model is one for chats; else the end of a text.
      stop_ids: that, and whatever else ``generation_config.json`` says ends a completion.
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
        ends: Sequence[int] = (),
    ):
        """Args are as `from_folder` finds them; ``names`` are the tokens that a template may mention."""
        self._tokenizer = tokenizer
        self.pad_id = eos_id if pad_id is None else pad_id
        self.bos_id, self.eos_id = bos_id, eos_id
        self.stop_ids = tuple(dict.fromkeys((eos_id, *ends)))
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
        """The text up to the first token that ends a completion; special tokens are dropped."""
        listed = np.asarray(ids).tolist()  # at once: one by one, each would be a transfer from the device
        end = next((place for place, i in enumerate(listed) if i in self.stop_ids), None)
        return self._tokenizer.decode(listed[:end], skip_special_tokens=True)

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
        other.eos_id, other.stop_ids = ids[0], (ids[0],)
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
        ends = {"eos_token_id": list(self.stop_ids), "pad_token_id": self.pad_id}
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
    return finish(tokenizer, ids.get("pad_token"), bos, eos, ends, _folder_template(folder, raw), names, str(folder))


def finish(
    tokenizer: Tokenizer,
    pad: int | None,
    bos: int | None,
    eos: int | None,
    ends: list[int],
    template: str | None,
    names: dict[str, str],
    where: str,
) -> BpeTokenizer:
    """A tokenizer from what a folder or a GGUF file says.

    Args:
      tokenizer: of the library.
      pad: id of the padding, or None.
      bos: id of what begins a text where the model wants it, or None.
      eos: id of what ends a text, or None.
      ends: where not empty, what ends a generation; a template alone does not make a chat model.
      template: of chats, or None.
      names: the tokens that a template may mention.
      where: what to call the source in an error.

    Raises:
      PretrainedError: nothing names the end of a text.
    """
    if template is not None:
        turns = [tokenizer.token_to_id(text) for text in TURN_ENDS if text in template]
        eos = next((turn for turn in turns if turn is not None and (not ends or turn in ends)), eos)
    if eos is None:
        raise PretrainedError(
            f"{where} names no end-of-text token that it has (eos_token: {names.get('eos_token')!r}): set eos_token in "
            "tokenizer_config.json."
        )
    return BpeTokenizer(tokenizer, pad_id=pad, bos_id=bos, eos_id=eos, template=template, names=names, ends=ends)


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


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
