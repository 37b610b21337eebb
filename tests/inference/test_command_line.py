"""`mass-adapt` on one problem and on standard input: answers, statuses, and sentences for what cannot be meant."""

import io
import json
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from mass_jax.inference import command_line, lines, phases
from mass_jax.inference.adapted import PHASES
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import Options
from tests.inference.conftest import Command


def test_one_problem_is_answered_and_its_work_shown(command: Command, adapter: MassAdapter, texts: list[str]):
    found = adapter.adapt(texts[0], Options(seed=5, votes=3))
    ended = command("--seed=5", "--votes=3", texts[0])
    assert (ended.status, ended.out) == (0, f"{found.answer}\n")
    for title in ("answer before", "practice", "weights", "update", "answer"):
        assert f"{title} (" in ended.err
    assert found.practice[0].practice.prompt in ended.err and "inner loss" in ended.err
    quiet = command("--seed=5", "--votes=3", "--quiet", texts[0])
    assert quiet == (0, ended.out, "")


def test_json_is_the_same_bytes_for_a_seed(command: Command, adapter: MassAdapter, texts: list[str]):
    first, again = (command("--json", "--quiet", "--seed=7", texts[0]) for _ in range(2))
    assert first == again and first.status == 0
    assert json.loads(first.out) == adapter.adapt(texts[0], Options(seed=7)).as_json(timing=False)
    timed = json.loads(command("--json", "--timing", "--quiet", "--seed=7", texts[0]).out)
    assert timed["seconds"] == pytest.approx(sum(phase["seconds"] for phase in timed["phases"]), abs=1e-3)
    assert timed.keys() - json.loads(first.out).keys() == {"seconds"}


def test_the_keys_of_the_output_cannot_be_given(adapter: MassAdapter, texts: list[str]):
    keys = adapter.adapt(texts[0], Options(update=False)).as_json().keys()
    assert keys | {"request", "error"} == lines.TAKEN | lines.GIVEN


def test_a_budget_that_is_too_small_is_said(command: Command, texts: list[str]):
    ended = command("--budget=1t", "--quiet", texts[0])
    assert ended.status == 0 and ended.out
    assert ended.err.startswith("Not adapted: a budget of 1 tokens allows none: the smallest update takes up to ")
    assert command("--no-update", "--quiet", texts[0]) == (0, ended.out, "")


@pytest.mark.parametrize("phase", PHASES)
def test_an_interrupt_leaves_the_answer_that_is_known(
    command: Command, texts: list[str], phase: str, monkeypatch: pytest.MonkeyPatch
):
    before = command("--no-update", "--quiet", texts[0]).out

    def interrupted(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    if phase == "answer_before":
        monkeypatch.setattr(phases, phase, interrupted)
    else:
        monkeypatch.setitem(phases.UPDATE, phase, interrupted)
    ended = command("--quiet", texts[0])
    assert ended.status == 130
    assert ended.out == ("" if phase == "answer_before" else before)
    shown = command("--quiet", "--json", texts[0])
    if phase != "answer_before":
        found = json.loads(shown.out)
        assert (found["updated"], found["why"]) == (False, "it was interrupted") and found["answer"] in before
        assert [each["name"] for each in found["phases"]] == list(PHASES[: PHASES.index(phase)])


def given(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What standard input holds."""
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(text.encode())))


def test_standard_input_has_a_problem_a_line(
    command: Command, adapter: MassAdapter, texts: list[str], monkeypatch: pytest.MonkeyPatch
):
    given(monkeypatch, "\n".join(texts))
    found = [each.as_json(timing=False) for each in adapter.adapt(texts)]
    ended = command("--json", "-")
    assert ended.status == 0 and [json.loads(line) for line in ended.out.splitlines()] == found
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b"\xff\n")))
    assert command("-").err.startswith("Line 1: it is no UTF-8 (") and command("-").status == 0, "all is read"
    given(monkeypatch, f"{texts[0]}\r\nnonsense\n")
    ended = command("-")
    assert (ended.status, ended.out) == (1, f"{found[0]['answer']}\n")
    assert ended.err.startswith("Line 2: the problem 'nonsense' cannot be read: ")


def test_nobody_reads_the_output(command: Command, texts: list[str], monkeypatch: pytest.MonkeyPatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert command("--quiet", "--no-update", texts[0]) == (1, "", "")


def test_the_disk_of_the_output_is_full(command: Command, texts: list[str], monkeypatch: pytest.MonkeyPatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        ended = command("--quiet", "--no-update", texts[0])
    assert ended.status == 2
    assert ended.err == (
        "'standard output' cannot be written (No space left on device): make room, and start the same again.\n"
    )


def test_without_an_update_there_is_no_adapter_to_save(command: Command, texts: list[str], tmp_path: Any):
    ended = command("--quiet", "--budget=1t", f"--save-adapter={tmp_path / 'adapter'}", texts[0])
    assert ended.status == 1 and "is not written: there is no update, for a budget of 1 tokens allows none" in ended.err
    assert not (tmp_path / "adapter").exists()
    assert command("--quiet", "--no-update", f"--save-adapter={'a' * 300}", texts[0]).status == 1, "too long for a file"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give one problem, or - for standard input, or --file"),
        (["1 + 1", "--file=x"], "give one problem, or - for standard input, or --file"),
        (["--file=x"], "--file and --out go together"),
        (["1 + 1", "--out=x"], "--file and --out go together"),
        (["--file=/nowhere", "--out=x"], "--file=/nowhere cannot be read (No such file or directory)"),
        (["--file=~no_such_user/x", "--out=y"], "--file=~no_such_user/x cannot be read (No such file or directory)"),
        (["--file=~/x", f"--out={Path.home()}/x"], f"are the same file, '{Path.home()}/x'"),
        (["--file=x", "--out=./x"], "--file and --out are the same file, 'x': give another for one."),
        (["--file=x", "--out=y", "--audit=z/../y"], "--out and --audit are the same file, 'z/../y'"),
        (["-", "--save-adapter=x"], "--save-adapter is for one problem"),
        (["1 + 1", "--save-adapter=README.md"], "--save-adapter=README.md is a file: give a folder"),
        (["1 + 1", "--timing"], "--timing adds seconds to JSON"),
        (["1 + 1", "--budget=10"], "--budget=10: give seconds, such as 10s, or tokens, such as 2000t."),
        (["1 + 1", "--budget=1.5t"], "--budget=1.5t: give seconds"),
        (["1 + 1", "--budget=1s", "--budget=2s"], "--budget=2s: there are two budgets of seconds"),
        (["1 + 1", "--budget=0s"], "seconds = 0.0: give a finite number above 0."),
        (["1 + 1", f"--budget={'9' * 400}s"], "seconds = inf: give a finite number above 0."),
        (["1 + 1", "--session="], "argument --session: it is empty: give a name."),
        (["1 + 1", "--votes=2"], "votes = 2: two that differ decide nothing"),
        (["1 + 1", "--seed=x"], "argument --seed: 'x' is no whole number"),
        (["1 + 1", "--sed=1"], "unrecognized arguments: --sed=1"),
        (["1 + 1", "--domain=algebra"], "argument --domain: invalid choice: 'algebra'"),
        (["nonsense"], "the problem 'nonsense' cannot be read"),
        ([" "], "has no text: give one"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(command: Command, words: list[str], sentence: str):
    ended = command(*words)
    assert ended.status == 2 and ended.out == ""
    assert sentence in ended.err and ended.err.count("\n") == 1


def test_help_ends_well(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        command_line.run(["--help"])
    assert ended.value.code == 0 and "--save-adapter DIR" in capsys.readouterr().out
