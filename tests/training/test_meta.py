"""The loop: a killed run ends as one never killed, and the first number that is none stops it."""

import json
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.mass.outer import TrainState
from mass_jax.tasks import pipeline
from mass_jax.tasks.arithmetic.documents import KINDS, document_writer
from mass_jax.training.checkpoint import Checkpointer
from mass_jax.training.guard import NonFiniteError
from mass_jax.training.meta import meta_train
from mass_jax.training.metrics import read_metrics
from mass_jax.types import Params
from tests.mass import tiny
from tests.training.killing import Killed, Stream


def documents(kill_at: int | None) -> Stream:
    write = document_writer(tiny.RULES, KINDS, ())
    problems, tokenizer = tiny.make_problems(8), tiny.DOMAIN.tokenizer
    return Stream(
        pipeline.document_batches(problems, write, tokenizer, length=24, batch_size=2, seed=1, ahead=0), kill_at
    )


@pytest.fixture(autouse=True, scope="module")
def quick_compilation() -> Iterator[None]:
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def train(workdir: Path, kill_at: int | None = None, base: Params | None = None, **changes: object) -> TrainState:
    return meta_train(
        tiny.train_config(mode="verifier", **changes),
        0,
        tiny.LENIENT,
        tiny.make_method(),
        tiny.make_params() if base is None else base,
        tiny.make_problems(8),
        documents(kill_at),
        workdir,
        label="mass",
    )


def plain(state: TrainState) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))]


def metrics(workdir: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in read_metrics(workdir)]


def test_a_killed_run_ends_with_the_same_numbers(tmp_path: Path):
    undisturbed = train(tmp_path / "a")
    with pytest.raises(Killed):
        train(tmp_path / "b", kill_at=4)
    with Checkpointer(tmp_path / "b" / "checkpoints") as checkpointer:
        assert checkpointer.latest_step() == 2
    assert [line["step"] for line in metrics(tmp_path / "b")] == [0, 1, 2], "step 2 is logged, and lost"
    resumed = train(tmp_path / "b")
    assert plain(resumed) == plain(undisturbed)
    assert plain(resumed) != plain(train(tmp_path / "c", steps=2))
    lines = metrics(tmp_path / "b")
    assert lines == metrics(tmp_path / "a")
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert len({line["outer/loss_post"] for line in lines}) == 4

    # A finished run has nothing left to do.
    file = tmp_path / "b" / "metrics.jsonl"
    before = file.read_text()
    assert plain(train(tmp_path / "b", kill_at=1)) == plain(undisturbed)
    assert file.read_text() == before


def test_every_line_has_what_a_reader_needs(tmp_path: Path):
    train(tmp_path, steps=1)
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    phases = ("data", "synthesise", "adapt", "solve", "attribute", "scorer", "generator")
    names = {f"time/{phase}" for phase in phases} | {
        "outer/loss_pre",
        "outer/loss_post",
        "outer/dead_groups",
        "synthesis/well_formed",
        "attribution/std",
        "grad_norm/generator",
        "grad_norm/scorer",
    }
    assert names <= set(line)


def test_a_number_that_is_none_stops_the_run_and_names_the_place(tmp_path: Path):
    broken = tiny.make_params()
    broken = broken | {"embed": broken["embed"].at[4].set(jnp.nan)}
    with pytest.raises(NonFiniteError, match=r"Step 0, phase 'adapt': losses"):
        train(tmp_path / "a", base=broken)
    train(tmp_path / "b", steps=2)
    with pytest.raises(NonFiniteError, match=r"Step 2, phase 'generator': parameters"):
        train(tmp_path / "b", generator_rate=float("nan"))
    with Checkpointer(tmp_path / "b" / "checkpoints") as checkpointer:
        assert checkpointer.latest_step() == 2, "the last good checkpoint stays"
