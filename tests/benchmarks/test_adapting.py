"""The two procedures that are timed against each other end at the same model."""

import json
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from experiments.benchmarks.adapting import __main__ as adapting
from experiments.benchmarks.adapting.ours import BATCH, Ours
from experiments.benchmarks.adapting.work import Size, make_work
from mass_jax.errors import InputError
from mass_jax.models import decoder
from mass_jax.models.config import ModelConfig
from mass_jax.models.pretrained import folder

MODEL = ModelConfig(vocab_size=64, width=16, layers=2, heads=2, kv_heads=1, head_dim=8, mlp_width=24, context=32)
SIZE = Size(prompt=6, written=3, practice=8, answer=3, examples=4, steps=2, rank=2, rate=2.0)


def test_both_end_at_the_same_model(tmp_path: Path):
    pytest.importorskip("peft")
    folder.write(tmp_path / "source", MODEL, decoder.init(MODEL, jax.random.key(0)))
    ours = Ours(str(tmp_path / "source"), SIZE)
    theirs, work = adapting._theirs(ours, tmp_path / "theirs", SIZE), make_work(SIZE, BATCH + 1, MODEL.vocab_size)
    adapting.check_same(ours, theirs, work)
    theirs.size = SIZE._replace(rate=1.0)
    with pytest.raises(AssertionError, match="nats a token apart"):
        adapting.check_same(ours, theirs, work)


def test_the_table_has_our_share_of_their_seconds():
    ours, theirs = adapting.SYSTEMS
    rows = [
        {"system": ours, "batch": 8, "seconds": [1.0, 3.0, 2.0], "peak_mib": 100.0},
        {"system": theirs, "batch": 8, "seconds": [9.0, 8.0, 7.0], "peak_mib": 200.0},
    ]
    found = adapting.table(rows).rows
    assert found == [
        ("8", ours, "2.00", "4.00", "0.25", "0.4", "100"),
        ("8", theirs, "8.00", "1.00", "1.00", "–", "200"),
    ]


def test_a_file_of_another_size_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    size = Size()
    asked = SimpleNamespace(workdir=str(tmp_path), model="mine", examples=size.examples, steps=size.steps)
    monkeypatch.setattr(adapting.flags, "FLAGS", asked)
    monkeypatch.setattr(adapting, "enable_compilation_cache", lambda: None)
    path = tmp_path / "results.json"
    for model, rank, words in (("mine", 1, "size = .*'rank': 1"), ("yours", size.rank, "model = 'yours'")):
        text = json.dumps({"rows": [], "size": size._replace(rank=rank)._asdict(), "model": model})
        path.write_text(text)
        with pytest.raises(InputError, match=f"results.json' was measured with {words}.*: give the same again"):
            adapting.main()
        assert path.read_text() == text
