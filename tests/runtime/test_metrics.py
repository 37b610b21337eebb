"""Metrics survive a kill; times add up; progress can be read."""

import io
import json
import re
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from mass_jax.runtime import events
from mass_jax.runtime.checkpoint import CheckpointError
from mass_jax.runtime.metrics import MetricsWriter, PhaseTimer, read_metrics
from mass_jax.runtime.progress import Progress, duration
from mass_jax.runtime.workdir import WorkdirError


def write(directory, steps, resume_step=0):
    with MetricsWriter(directory, resume_step=resume_step) as writer:
        for step in steps:
            writer.write(step, {"loss": jnp.float32(1 / (step + 1)), "count": step, "eval/acc": np.float64(step)})


def test_lines_are_scalars_by_name(tmp_path):
    with MetricsWriter(tmp_path, resume_step=0) as writer:
        returned = writer.write(3, {"loss": jnp.array([0.1]), "n": 2, "bad": jnp.nan})
        # Read before the writer is closed: every line is already on its way to disk.
        (line,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert line["step"] == 3 and line["loss"] == float(np.float32(0.1)) == returned["loss"]
    assert line["n"] == 2.0 and np.isnan(line["bad"])


def test_one_transfer_a_line(tmp_path, monkeypatch):
    calls = []
    device_get = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda x: calls.append(x) or device_get(x))
    write(tmp_path, range(2))
    assert len(calls) == 2


def test_arrays_are_refused(tmp_path):
    with MetricsWriter(tmp_path, resume_step=0) as writer, pytest.raises(ValueError, match=r"'tau' has shape \[3\]"):
        writer.write(0, {"tau": jnp.ones(3)})


def test_killed_and_resumed_file_equals_the_undisturbed_one(tmp_path):
    write(tmp_path / "whole", range(10))
    write(tmp_path / "killed", range(8))
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as f:
        f.write('{"step": 8, "lo')  # torn by the kill
    write(tmp_path / "killed", range(5, 10), resume_step=5)
    whole, killed = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "killed"))
    assert whole == killed and whole.count(b"\n") == 10


def test_torn_line_is_dropped_even_if_nothing_else_is(tmp_path):
    write(tmp_path, range(3))
    with (tmp_path / "metrics.jsonl").open("a") as f:
        f.write('{"step": 1}')  # parses, but its newline is missing
    write(tmp_path, [3], resume_step=3)
    assert [line["step"] for line in read_metrics(tmp_path)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: b"", "lacks 4 of the lines before step 4.*the first is of step 0"),
        (lambda text: text[:30], "lacks 4 of"),
        (lambda text: text.replace(b'"step": 2', b'"step\xff 2'), "lacks 1 of.*the first is of step 2"),
        (lambda text: text.replace(b'{"step": 1', b'{"stop": 1'), "lacks 1 of.*the first is of step 1"),
        (lambda text: b"null\n" + text, "has damaged lines.*metrics.jsonl.damaged"),
    ],
)
def test_lost_lines_are_said(tmp_path, caplog, damage, words):
    write(tmp_path, range(5))
    write(tmp_path, range(4, 6), resume_step=4)
    assert not caplog.text
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(damage(file.read_bytes()))
    write(tmp_path, range(4, 6), resume_step=4)
    assert re.search(words, caplog.text)
    assert [line["step"] for line in read_metrics(tmp_path)][-2:] == [4, 5]


def test_lines_that_come_seldom_are_not_missed(tmp_path, caplog):
    write(tmp_path, range(0, 20, 10))
    with MetricsWriter(tmp_path, resume_step=15, every=10):
        assert not caplog.text
    with MetricsWriter(tmp_path, resume_step=25, every=10):
        assert "lacks 1 of" in caplog.text


def test_a_full_disk_ends_no_run_and_loses_no_line(tmp_path, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with MetricsWriter(tmp_path, resume_step=0) as writer:
        writer.write(0, {"loss": 1})
        room = (tmp_path / "metrics.jsonl").stat().st_size + 9
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))  # no file of this process may grow beyond
        try:
            for step in range(1, 30):
                writer.write(step, {f"loss{i}": step for i in range(100)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / "metrics.jsonl").stat().st_size == room
        writer.write(30, {"loss": 1})
    assert [line["step"] for line in read_metrics(tmp_path)] == list(range(31))
    for words in ("metrics.jsonl' cannot be written", "No more TensorBoard events"):
        assert caplog.text.count(words) == 1


def test_a_run_that_fails_does_not_say_what_its_files_lack(tmp_path, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = MetricsWriter(tmp_path, resume_step=0)
    writer.write(0, {"loss": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        with pytest.raises(CheckpointError), writer:
            writer.write(1, {"loss": 1})
            raise CheckpointError("A checkpoint could not be written.")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caplog.text.count("metrics.jsonl' cannot be written") == len(caplog.records) == 1


def test_events_on_a_full_disk_from_the_start(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(events, "open", lambda *_: io.FileIO("/dev/full", "w"), raising=False)
    write(tmp_path, range(3))
    assert len(read_metrics(tmp_path)) == 3
    assert caplog.text.count("No more TensorBoard events") == 1


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkdirError, match="file/metrics.jsonl' cannot be opened"):
        MetricsWriter(tmp_path / "file", resume_step=0)


def test_starting_anew_drops_all(tmp_path):
    write(tmp_path, range(3))
    write(tmp_path, range(1), resume_step=0)
    assert [line["step"] for line in read_metrics(tmp_path)] == [0]


def test_tensorboard_holds_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(tmp_path, range(6))
    write(tmp_path, range(4, 8), resume_step=4)
    accumulator = EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    assert [(e.step, e.value) for e in accumulator.Scalars("loss")] == [
        (s, pytest.approx(1 / (s + 1))) for s in range(8)
    ]


def test_phase_timer_adds_up_waits_and_resets(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    timer = PhaseTimer()
    for _ in range(2):
        with timer("adapt") as ready:
            now[0] += 0.5
            assert float(ready({"x": jnp.ones(())})["x"]) == 1.0
    with pytest.raises(RuntimeError), timer("grade"):
        now[0] += 0.25
        raise RuntimeError
    assert timer.pop() == {"time/adapt": 1.0, "time/grade": 0.25}
    assert timer.pop() == {}


def progress_text(terminal, **options):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    with Progress(10, start=4, show=["loss"], console=console, **options) as progress:
        for done in range(4, 11):
            progress.update(done, {"loss": 0.125, "hidden": 9.0})
    return console.file.getvalue()


def test_progress_without_a_terminal_prints_few_plain_lines():
    lines = progress_text(False, every_seconds=3600).splitlines()
    assert len(lines) == 2  # the first and the last
    assert lines[0] == "train 4/10, loss 0.125"
    assert lines[1] == "train 10/10, 0:00 gone, 0:00 left, loss 0.125"
    assert len(progress_text(False, every_seconds=0).splitlines()) == 7


def test_progress_on_a_terminal_is_a_bar():
    text = progress_text(True)
    assert "━" in text and "10/10" in text and "0:00 left" in text and "hidden" not in text


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("label", ["mass_gold", "v5e:4x4 1x4x4, 16 problems, mass_gold, adjoint, block remat"])
def test_a_terminal_shows_the_step_and_the_total_first_then_what_fits(width, label):
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    metrics = {"outer/loss_pre": 0.1234, "outer/loss_post": 0.2345, "solve/accuracy": 0.5}
    with Progress(500, label=label, show=list(metrics), console=console) as progress:
        progress.update(123, metrics)
    text = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", console.file.getvalue())
    last = [line for line in re.split(r"[\r\n]", text) if line.strip()][-1]
    assert last.startswith("123/500 ") and len(last) <= width
    shown = re.findall(r"(\S+ 0\.[\d…]*)", last)
    assert shown == [f"{name} {value}" for name, value in metrics.items()][: len(shown)], "each is whole"
    assert len(shown) >= {80: 1, 120: 1, 200: 3}.get(width, 0) - (len(label) > 9 and width < 200)


def test_the_clock_goes_on_while_a_step_takes_its_time(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80)
    with Progress(10, console=console) as progress:
        progress.update(0)
        now = 65.0  # nothing is reported in the meantime
        progress._bar.refresh()
        assert "1:05 gone" in console.file.getvalue()
        progress.update(5)
        now = 75.0
        assert progress.clock() == "1:15 gone, 0:55 left"
        progress.doing("attribution check")
        progress._bar.refresh()
    assert "attribution check" in console.file.getvalue()


def test_time_left_counts_only_the_steps_of_this_run(monkeypatch):
    clock = iter([0.0, 0.0, 30.0, 30.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    console = Console(file=io.StringIO(), force_terminal=False, width=160)
    with Progress(100, start=90, console=console) as progress:
        progress.update(93)
    assert "0:30 gone, 1:10 left" in console.file.getvalue()


def test_the_callers_word_for_the_time_left_is_taken(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress(3, console=Console(file=io.StringIO(), force_terminal=False, width=160)) as progress:
        progress.expect(100.0)
        now = 10.0
        assert progress.clock() == "0:10 gone, 1:30 left"
        progress.update(1)
        assert progress.clock() == "0:10 gone, 1:30 left", "steps that are not alike have no pace"


def test_duration():
    assert [duration(s) for s in (0.4, 65, 3723)] == ["0:00", "1:05", "1:02:03"]
