"""The loop: a killed run ends as one never killed, and numbers that are none change nothing."""

import itertools
import json
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from mass_jax.errors import InputError
from mass_jax.mass.state import TrainState
from mass_jax.parallel.preemption import Preempted
from mass_jax.runtime import profiling
from mass_jax.runtime.checkpoint import Checkpointer
from mass_jax.runtime.guard import NonFiniteError
from mass_jax.runtime.metrics import read_metrics, read_repeatable
from mass_jax.study import meta
from mass_jax.study.meta import meta_train, mostly_malformed
from mass_jax.tasks import pipeline
from mass_jax.tasks.arithmetic import documents as texts
from mass_jax.tasks.base import MALFORMED, Domain
from mass_jax.tasks.mathematics import prompts
from mass_jax.tasks.mathematics.grading import Grader
from mass_jax.tasks.mathematics.task import MathematicsTask
from mass_jax.tasks.worked import KINDS, writer
from mass_jax.types import Params
from tests.mass import tiny
from tests.mass.conftest import quick_compilation  # noqa: F401 (fixture)
from tests.runtime.killing import Killed, Stream


def documents(kill_at: int | None) -> Stream:
    write = writer(texts, tiny.RULES, KINDS, ())
    problems, tokenizer = tiny.make_problems(8), tiny.DOMAIN.tokenizer
    return Stream(
        pipeline.document_batches(problems, write, tokenizer, length=24, batch_size=2, seed=1, ahead=0), kill_at
    )


def train(
    workdir: Path,
    kill_at: int | None = None,
    base: Params | None = None,
    stream: Stream | None = None,
    domain: Domain = tiny.LENIENT,
    **changes: object,
) -> TrainState:
    return meta_train(
        tiny.train_config(mode="verifier", **changes),
        0,
        tiny.make_actor(domain=domain, params=base),
        tiny.make_problems(8),
        documents(kill_at) if stream is None else stream,
        workdir,
    )


def plain(state: TrainState) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))]


def test_a_killed_run_ends_with_the_same_numbers(tmp_path: Path):
    undisturbed = train(tmp_path / "a")
    with pytest.raises(Killed):
        train(tmp_path / "b", kill_at=4)
    with Checkpointer(tmp_path / "b" / "checkpoints") as checkpointer:
        assert checkpointer.latest_step() == 2
    assert [line["step"] for line in read_repeatable(tmp_path / "b")] == [0, 1, 2], "step 2 is logged, and lost"
    resumed = train(tmp_path / "b")
    assert plain(resumed) == plain(undisturbed)
    assert plain(resumed) != plain(train(tmp_path / "c", steps=2))
    lines = read_repeatable(tmp_path / "b")
    assert lines == read_repeatable(tmp_path / "a")
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
        "machine/seconds",
        "machine/tokens_per_second",
        "machine/flops_per_second",
    }
    assert names <= set(line)


def test_steps_without_numbers_are_skipped_counted_and_in_the_end_stop_the_run(tmp_path: Path):
    broken = tiny.make_params()
    broken = broken | {"embed": broken["embed"].at[4].set(3e38)}  # finite, and yet no loss comes of it
    with pytest.raises(NonFiniteError, match=r"3 steps in a row .*spike_patience = 2.*Step 2, phase 'adapt': losses"):
        train(tmp_path, base=broken, steps=9)
    assert [line["skipped"] for line in read_repeatable(tmp_path)] == [1, 1, 1]
    with Checkpointer(tmp_path / "checkpoints") as checkpointer:
        assert checkpointer.latest_step() == 3, "what it had is saved"
        assert checkpointer.read_extra(3)["watch"]["in_a_row"] == 3
    with pytest.raises(NonFiniteError, match="4 steps in a row"):
        train(tmp_path, base=broken, steps=9)


def test_parameters_that_are_no_numbers_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train(tmp_path, steps=2, save_every=1)
    step = meta.outer_step

    def spoiled(*args: object) -> object:
        state, metrics = step(*args)
        return state._replace(params=jax.tree.map(lambda x: (x - x) / (x - x), state.params)), metrics

    monkeypatch.setattr(meta, "outer_step", spoiled)
    for _ in range(2):  # a restart ends alike, and takes nothing with it
        with pytest.raises(InputError, match=r"Step 3, phase 'save': state.params\['embed'\] .* NaN.*last checkpoint"):
            train(tmp_path, steps=4, save_every=1)
        with Checkpointer(tmp_path / "checkpoints") as checkpointer:
            assert checkpointer.steps() == [1, 2]


def test_a_spike_is_not_followed(tmp_path: Path):
    # A step that changes nothing says that the gradient was too large: with a factor of 1 about every second one is.
    followed = train(tmp_path / "all", steps=6)
    state = train(tmp_path / "some", steps=6, spike_factor=1.0, spike_window=2, spike_patience=9)
    lines = read_repeatable(tmp_path / "some")
    skipped = [line["skipped/generator"] for line in lines]
    assert skipped[:2] == [0, 0] and 0 < sum(skipped[2:]) < 4 or sum(skipped) == 4, skipped
    assert plain(state) != plain(followed)
    assert [line["skipped"] for line in lines] == [
        float(bool(line["skipped/generator"] or line["skipped/scorer"])) for line in lines
    ]
    assert all(line["skipped"] == 0 for line in read_repeatable(tmp_path / "all"))


def test_warm_steps_compile_nothing_and_transfer_nothing_by_mistake(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    jax.clear_caches()
    train(tmp_path, steps=5)
    compiled = [line["machine/programs_compiled"] for line in read_metrics(tmp_path)]
    assert compiled[0] > 5 and compiled[1:] == [0, 0, 0, 0], compiled
    assert "a shape that was new" not in caplog.text


def test_a_generator_that_writes_mostly_what_cannot_be_read_is_told_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    train(tmp_path / "lenient", steps=1)
    train(tmp_path / "harmless", steps=1, domain=tiny.DOMAIN, malformed_reward=0.0)
    assert "well formed" not in caplog.text
    train(tmp_path / "strict", steps=2, domain=tiny.DOMAIN)
    assert caplog.text.count("Only 0 % of the practice is well formed") == 1
    assert "helps. Lower generator.temperature" in caplog.text, "this domain has no task.shots"


def test_a_generator_that_is_driven_into_garbage_is_told_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    parse, texts = tiny.LenientTask.parse, itertools.count()
    readable = tiny.train_config().problems * tiny.EXAMPLES  # of the first step
    monkeypatch.setattr(
        tiny.LenientTask,
        "parse",
        lambda self, problem, text: parse(self, problem, text) if next(texts) < readable else MALFORMED,
    )
    train(tmp_path, steps=3)
    assert read_metrics(tmp_path)[0]["synthesis/well_formed"] > 0
    assert caplog.text.count("nothing that was written can be read any more") == 1
    assert "Step 1: nothing that was written" in caplog.text


def test_worked_practice_is_advised_where_the_domain_has_it():
    told = mostly_malformed(MathematicsTask(prompts.load("gsm8k"), Grader()), 0.25)
    assert told.startswith("Only 25 % of") and "Show it worked practice (task.shots), lower" in told


def test_a_notice_saves_the_run_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    undisturbed = train(tmp_path / "a", steps=3)

    class Notified(Stream):
        def __next__(self) -> np.ndarray:
            if self._left == 1:
                signal.raise_signal(signal.SIGTERM)
            self._left -= 1
            return next(self._stream)

    stream = documents(None)
    with pytest.raises(Preempted) as stopped:
        train(tmp_path / "b", stream=Notified(stream._stream, 2), steps=3, save_every=3)
    assert stopped.value.code == 75
    with Checkpointer(tmp_path / "b" / "checkpoints") as checkpointer:
        assert checkpointer.latest_step() == 1, "in the midst of the second step: that is done again"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    # After the last step is done nothing else is begun.
    def interrupted(*_: object) -> dict[str, float]:
        if len(read_metrics(tmp_path / "b")) == 2:
            signal.raise_signal(signal.SIGINT)
        return {}

    monkeypatch.setattr(meta.cost, "throughput", interrupted)
    before = signal.getsignal(signal.SIGINT)  # what started the tests may have it ignored
    with pytest.raises(Preempted) as stopped:
        train(tmp_path / "b", steps=3, save_every=3)
    assert stopped.value.code == 130 and signal.getsignal(signal.SIGINT) == before
    with Checkpointer(tmp_path / "b" / "checkpoints") as checkpointer:
        assert checkpointer.latest_step() == 3
    assert plain(train(tmp_path / "b", steps=3, save_every=3)) == plain(undisturbed)
    assert read_repeatable(tmp_path / "b") == read_repeatable(tmp_path / "a")


def test_a_trace_is_written(tmp_path: Path):
    profiling.trace_steps(1)
    try:
        train(tmp_path, steps=3)
    finally:
        profiling.trace_steps(0)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
