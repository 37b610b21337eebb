"""Pretraining: a killed one ends with the same base, and a base is used again or refused by name."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from configs import smoke
from mass_jax.models import decoder
from mass_jax.runtime import checkpoint
from mass_jax.runtime.checkpoint import Checkpointer, CheckpointError
from mass_jax.runtime.guard import NonFiniteError
from mass_jax.runtime.metrics import read_metrics
from mass_jax.study import pretrain as module
from mass_jax.study.config import read
from mass_jax.study.pretrain import identity, pretrain
from mass_jax.study.schema import Config
from mass_jax.tasks import pipeline
from mass_jax.tasks.arithmetic import documents as texts
from mass_jax.tasks.worked import writer
from mass_jax.types import Params
from tests.mass import tiny
from tests.runtime.killing import Killed, Stream


@pytest.fixture(autouse=True, scope="module")
def often_and_quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SAVE_EVERY", 2)
        patch.setattr(module, "LOG_EVERY", 1)
        before = jax.config.read("jax_disable_most_optimizations")
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", before)


def make_config(learning_rate: float = 0.02, **changes: Any) -> Config:
    config = smoke.get_config()
    config.pretrain.update({"steps": 4, "adam_ratio": 0.3, "warmup_steps": 1, "decay_steps": 1} | changes)
    sound = read(config)
    # NaN, too, which `read` refuses.
    return sound.model_copy(update={"pretrain": sound.pretrain.model_copy(update={"learning_rate": learning_rate})})


def unasked(params: Params) -> float:
    raise AssertionError("nothing asks what the base solves")


def run(
    workdir: Path,
    base_dir: Path,
    kill_at: int | None = None,
    solved: Callable[[Params], float] = unasked,
    **changes: Any,
) -> Params:
    write = writer(texts, tiny.RULES, ["solve"], ())
    streams = {
        name: pipeline.document_batches(
            tiny.make_problems(12), write, tiny.DOMAIN.tokenizer, length=15, batch_size=size, seed=0, ahead=0
        )
        for name, size in (("short", 4), ("long", 3))
    }
    documents = {"short": streams["short"], "long": Stream(streams["long"], kill_at)}
    return pretrain(make_config(**changes), tiny.MODEL, documents, workdir, base_dir, solved)


def plain(params: Params) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params)]


def test_a_killed_pretraining_ends_with_the_same_base_which_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    undisturbed = run(tmp_path / "a", tmp_path / "base")
    assert plain(undisturbed) != plain(decoder.init(tiny.MODEL, jax.random.key(0)))
    with pytest.raises(Killed):
        run(tmp_path / "b", tmp_path / "other", kill_at=4)
    assert not (tmp_path / "other").exists(), "an unfinished base is none"
    with Checkpointer(tmp_path / "b" / "checkpoints") as checkpointer:
        assert checkpointer.latest_step() == 2
    assert plain(run(tmp_path / "b", tmp_path / "other")) == plain(undisturbed)
    lines = read_metrics(tmp_path / "b")
    assert lines == read_metrics(tmp_path / "a")
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert len({line["pretrain/loss"] for line in lines}) == 4

    # The base is there: nothing is read from the stream, nothing is written.
    assert plain(run(tmp_path / "c", tmp_path / "base", kill_at=1)) == plain(undisturbed)
    assert not (tmp_path / "c").exists()
    with pytest.raises(CheckpointError, match=r"pretrain.steps: 4 \(there\), 5 \(now\)"):
        run(tmp_path / "d", tmp_path / "base", kill_at=1, steps=5)

    @contextmanager
    def another_run_was_faster(path: Path, what: str) -> Iterator[None]:
        assert path == tmp_path / "third.lock"
        shutil.copytree(tmp_path / "base", tmp_path / "third")
        yield

    monkeypatch.setattr(module, "alone", another_run_was_faster)
    assert plain(run(tmp_path / "e", tmp_path / "third", kill_at=1)) == plain(undisturbed)

    monkeypatch.setattr(checkpoint, "PAUSE", 0.0)
    largest = max((tmp_path / "base").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"No checkpoint can be read in '{tmp_path / 'base'}'"):
        run(tmp_path / "f", tmp_path / "base", kill_at=1)


def test_a_state_without_numbers_is_never_saved_nor_is_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # No look at the metrics comes between the step that spoils the parameters and the save.
    monkeypatch.setattr(module, "LOG_EVERY", 100)
    with pytest.raises(NonFiniteError, match=r"Step 1, phase 'save': params\['.*NaN"):
        run(tmp_path / "a", tmp_path / "base", learning_rate=float("nan"))
    assert not (tmp_path / "base").exists() and not (tmp_path / "a" / "checkpoints").exists()
    with pytest.raises(NonFiniteError, match=r"Step 0, phase 'save': params\['.*NaN"):
        run(tmp_path / "b", tmp_path / "base", learning_rate=float("nan"), steps=1, decay_steps=0)
    assert not (tmp_path / "base").exists()


def test_the_base_is_the_running_average_of_the_parameters(tmp_path: Path):
    at = [run(tmp_path / f"{n}", tmp_path / f"base_{n}", steps=n, decay_steps=0) for n in (1, 2, 3)]
    average = decoder.init(tiny.MODEL, jax.random.key(0))
    for params in at:
        average = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, average, params)
    found = run(tmp_path / "a", tmp_path / "base", steps=3, decay_steps=0, average=0.25)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), found, average)


def test_pretraining_ends_once_the_base_solves_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(module, "CHECK_EVERY", 2)
    options = {"steps": 7, "decay_steps": 0, "average": 0.25}
    shown: list[list[bytes]] = []

    def solved(params: Params) -> float:
        shown.append(plain(params))
        return 0.2 * len(shown)

    base = run(tmp_path / "a", tmp_path / "base", solved=solved, until=0.4, **options)
    assert shown[-1] == plain(base) and len(shown) == 2, "what is measured is what is kept"
    assert [line.get("pretrain/solved") for line in read_metrics(tmp_path / "a")] == [None, 0.2, None, 0.4]
    assert not caplog.messages
    # A killed one goes on, and ends at the same step; the last one is looked at, too.
    with pytest.raises(Killed):
        run(tmp_path / "b", tmp_path / "other", kill_at=4, solved=lambda params: 0.2, until=0.4, **options)
    found = run(tmp_path / "b", tmp_path / "other", solved=lambda params: 0.4, until=0.4, **options)
    assert plain(found) == plain(base)
    run(tmp_path / "c", tmp_path / "third", solved=lambda params: 0.2, until=0.4, **options)
    assert [line["step"] for line in read_metrics(tmp_path / "c")] == list(range(7))
    assert "solves 20.0 % of the validation problems after pretrain.steps = 7" in caplog.text


def test_the_identity_is_all_that_decides_the_base():
    def identified(**changes: Any) -> dict:
        config = smoke.get_config()
        config.update(changes)
        return identity(read(config))

    given = smoke.get_config().to_dict()
    assert identified(train={"steps": 7}) == {name: given[name] for name in ("task", "model", "pretrain", "seed")}
    for change in ({"seed": 1}, {"task": {"rules": 13}}, {"model": {"width": 32}}, {"pretrain": {"steps": 201}}):
        assert identified(**change) != identified()
    # A base that ends by what it solves depends on which problems it is asked.
    assert identified(gate={"problems": 6}) == identified()
    ends: dict = {"pretrain": {"until": 0.5, "decay_steps": 0}}
    assert identified(**ends, gate={"problems": 6}) != identified(**ends)
