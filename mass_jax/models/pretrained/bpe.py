"""Tokenizers of pretrained models, by the `tokenizers` library, and their chat templates."""

import contextlib
import copy
import datetime
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import numpy as np
from pydantic import ConfigDict, Field
from tokenizers import Tokenizer

from mass_jax.models.pretrained.config_schema import Strict, check
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.folder import read_json

TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")
"""Tokens that end a turn in a chat; where the template uses one of them, it ends a completion."""


class Settings(NamedTuple):
    """What a folder or a GGUF file says of its tokenizer.

    Attributes:
      pad_id: of the padding, or None.
      bos_id: of what begins a text where the model wants it, or None.
      eos_id: of what ends a text, or None.
      ends: where not empty, what ends a generation; a template alone does not make a chat model.
      template: of chats, or None.
      names: the tokens that a template may mention.
      rows: of the model's embedding, if known.
    """

    pad_id: int | None
    bos_id: int | None
    eos_id: int | None
    ends: Sequence[int]
    template: str | None
    names: dict[str, str]
    rows: int | None = None


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

    def __init__(self, tokenizer: Tokenizer, settings: Settings, eos_id: int):
        """Args are as `finish` has them; ``eos_id`` ends a text or a turn."""
        self._tokenizer = tokenizer
        self.pad_id = eos_id if settings.pad_id is None else settings.pad_id
        self.bos_id, self.eos_id = settings.bos_id, eos_id
        self.stop_ids = tuple(dict.fromkeys((eos_id, *settings.ends)))
        self.vocab_size = 1 + max(tokenizer.get_vocab().values())
        added = sorted(tokenizer.get_added_tokens_decoder().items())
        self.special_tokens = tuple(token.content for _, token in added if token.special)
        self._template, self._names, self._rows = settings.template, settings.names, settings.rows

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` can be called."""
        return self._template is not None

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without BOS and EOS; special tokens in it are read as such.

        Raises:
          PretrainedError: the text holds a special token that the model's embedding has no row for.
        """
        with _in_a_sentence("the tokenizer fails on this text"):
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self._rows is not None and ids and max(ids) >= self._rows:
            token = self._tokenizer.id_to_token(max(ids))
            raise PretrainedError(
                f"a text holds {token!r}, but the model's embedding of {self._rows} rows has none for it: take it out."
            )
        return ids

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text up to the first token that ends a completion; special tokens are dropped."""
        listed = np.asarray(ids).tolist()  # at once: one by one, each would be a transfer from the device
        end = next((place for place, i in enumerate(listed) if i in self.stop_ids), None)
        with _in_a_sentence("the tokenizer fails on these tokens"):
            return self._tokenizer.decode(listed[:end], skip_special_tokens=True)

    def chat(self, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Messages as the model was taught to read them, without the BOS token where `bos_id` says that it comes first.

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

    def for_chats(self) -> "BpeTokenizer":
        """The same tokenizer for texts that `chat` makes: whether a BOS token comes first, the template decides."""
        other = copy.copy(self)
        other.bos_id = None
        return other

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
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
        environment.globals |= {
            "raise_exception": _refuse,
            "strftime_now": lambda form: datetime.datetime.now().strftime(form),
        }
        return environment.from_string(self._template or "").render


class _Generation(jinja2.ext.Extension):
    """``{% generation %}``, by which training finds what the assistant wrote; of the text it changes nothing."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        """A block in a scope of its own, as transformers makes it."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller: Callable[[], str]) -> str:
        return caller()


class _Token(Strict):
    model_config = ConfigDict(extra="ignore")
    content: str


_TokenOrText = Annotated[_Token | str | None, Field(description="the text of a token, or an object with its content")]


class _Template(Strict):
    name: str
    template: str


class _TokenizerConfig(Strict):
    """What is read of a ``tokenizer_config.json``; how a text becomes ids is in ``tokenizer.json``."""

    model_config = ConfigDict(extra="ignore")
    bos_token: _TokenOrText = None
    eos_token: _TokenOrText = None
    pad_token: _TokenOrText = None
    unk_token: _TokenOrText = None
    chat_template: list[_Template] | str | None = Field(
        None, description="a template, or a list of them, each with its name and its template"
    )


_Id = Annotated[int, Field(ge=0, lt=2**31)]


class _Ends(Strict):
    """What is read of a ``generation_config.json``; how studies sample, they say themselves."""

    model_config = ConfigDict(extra="ignore")
    eos_token_id: Annotated[list[_Id], Field(min_length=1)] | _Id | None = Field(
        None, description="the number of a token, which is 0 or more, or a list of such numbers"
    )


def from_folder(folder: str | os.PathLike[str]) -> BpeTokenizer:
    """The tokenizer of a Hugging Face folder: ``tokenizer.json``, ``tokenizer_config.json``, and what is beside them.

    Raises:
      PretrainedError: a file is missing or damaged, the end of a text is not named, or the model beside it has no rows
        for its tokens.
    """
    folder = Path(folder)
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise PretrainedError(f"{path} is missing: save the tokenizer with transformers' save_pretrained (fast).")
    with _in_a_sentence(f"{path} cannot be read"):
        tokenizer = Tokenizer.from_file(str(path))
        # Settings of whoever saved it: a text is never cut or filled here.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        first = tokenizer.encode("a").ids[:1]
    if not tokenizer.get_vocab_size():
        raise PretrainedError(f"{path} has no tokens: get it again.")
    where = str(folder / "tokenizer_config.json")
    raw = check(_TokenizerConfig, read_json(folder / "tokenizer_config.json"), where)
    names = {}
    for field in ("bos_token", "eos_token", "pad_token", "unk_token"):
        name = getattr(raw, field)
        if name is not None:
            names[field] = name.content if isinstance(name, _Token) else name
    with _in_a_sentence(f"{where} names a token that is no text"):
        ids = {field: tokenizer.token_to_id(name) for field, name in names.items()}
    ends = _ends(folder, tokenizer)
    # A BOS token may be named and yet not be used; only what the tokenizer puts first says that the model wants it.
    bos = ids.get("bos_token")
    bos = bos if first == [bos] else None
    eos = ids.get("eos_token", ends[0] if ends else None)
    rows, template = _rows(folder, tokenizer), _folder_template(folder, raw.chat_template)
    return finish(tokenizer, Settings(ids.get("pad_token"), bos, eos, ends, template, names, rows), str(folder))


def _ends(folder: Path, tokenizer: Tokenizer) -> list[int]:
    """What ends a generation, by ``generation_config.json``, else by ``config.json``, as transformers has it."""
    for path in (folder / "generation_config.json", folder / "config.json"):
        if path.is_file():
            listed = check(_Ends, read_json(path), str(path)).eos_token_id
            ends = [] if listed is None else [listed] if isinstance(listed, int) else listed
            if strange := [i for i in ends if tokenizer.id_to_token(i) is None]:
                raise PretrainedError(
                    f"{path} has eos_token_id = {str(listed)[:80]}, but the tokenizer has no token {strange[0]}: put "
                    "it right."
                )
            return ends
    return []


def _rows(folder: Path, tokenizer: Tokenizer) -> int | None:
    """Rows of the embedding of the model beside the tokenizer, if there is one.

    Special tokens beyond them may be: the text models of Gemma 3 have one for images, which no text should hold.
    """
    rows = read_json(folder / "config.json").get("vocab_size") if (folder / "config.json").is_file() else None
    if not isinstance(rows, int):  # what is wrong with it is said where the config is read
        return None
    special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    beyond = sorted(i for i in tokenizer.get_vocab().values() if i >= rows and i not in special)
    if beyond:
        token = tokenizer.id_to_token(beyond[0])
        raise PretrainedError(
            f"{folder} has a tokenizer of {tokenizer.get_vocab_size()} tokens, but the model's embedding has {rows} "
            f"rows (vocab_size), none for {token!r}: they do not belong together."
        )
    return rows


def finish(tokenizer: Tokenizer, settings: Settings, where: str) -> BpeTokenizer:
    """A tokenizer from what a folder or a GGUF file says.

    Args:
      tokenizer: of the library.
      settings: what is said of it.
      where: what to call the source in an error.

    Raises:
      PretrainedError: nothing names the end of a text.
    """
    eos, ends, template = settings.eos_id, settings.ends, settings.template
    if template is not None:
        turns = [tokenizer.token_to_id(text) for text in TURN_ENDS if text in template]
        eos = next((turn for turn in turns if turn is not None and (not ends or turn in ends)), eos)
    if eos is None:
        raise PretrainedError(
            f"{where} names no end-of-text token that it has (eos_token: {settings.names.get('eos_token')!r}): set "
            "eos_token in tokenizer_config.json."
        )
    return BpeTokenizer(tokenizer, settings, eos)


def _folder_template(folder: Path, template: list[_Template] | str | None) -> str | None:
    """A file of its own comes first; of several templates, the default one counts."""
    path = folder / "chat_template.jinja"
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise PretrainedError(f"{path} cannot be read ({error}): the download is incomplete.") from None
    if isinstance(template, list):
        return {each.name: each.template for each in template}.get("default")
    return template


@contextlib.contextmanager
def _in_a_sentence(what: str) -> Iterator[None]:
    """Whatever the library raises; a panic of its Rust is no `Exception`."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001
        raise PretrainedError(f"{what} ({str(error)[:200]}): get the tokenizer again.") from None


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
