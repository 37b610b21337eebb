"""A file of problems: a line each in their order, continued where it stopped, and refused where it is another's."""

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mass_jax.errors import InputError
from mass_jax.inference import answers, phases
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.answers import Answers, request
from mass_jax.inference.options import Options
from tests.inference.conftest import Command


@pytest.fixture
def given(texts: list[str], tmp_path: Path) -> Path:
    """Three problems; the second has a seed and keys of its own."""
    rows: list[dict[str, Any]] = [{"problem": text} for text in texts]
    rows[1] |= {"id": "b", "seed": 9, "source": {"page": 3}}
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_has_its_answer(command: Command, adapter: MassAdapter, given: Path, texts: list[str]):
    out = given.with_name("answers.jsonl")
    ended = command("--file", given, "--out", out)
    assert (ended.status, ended.out) == (0, "") and "answer 3/3" in ended.err
    expected = adapter.adapt(texts, [Options(), Options(seed=9), Options()])
    found = rows(out)
    assert [each.pop("request") for each in rows(out)] == [each.pop("request") for each in found]
    assert {name: found[1].pop(name) for name in ("id", "source")} == {"id": "b", "source": {"page": 3}}
    assert found == [each.as_json(timing=False) for each in expected]


def test_it_is_continued(command: Command, given: Path, monkeypatch: pytest.MonkeyPatch):
    words = ("--quiet", "--file", given, "--out", given.with_name("answers.jsonl"))
    assert command(*words) == (0, "", "")
    whole = words[-1].read_bytes()
    first, second, _ = whole.splitlines(keepends=True)

    def never(*_: Any) -> None:
        raise AssertionError("all of it is done")

    with monkeypatch.context() as patch:
        patch.setattr(phases, "answer_before", never)
        assert command(*words) == (0, "", "")
    for left in (first, first + second[:-1], first + second + b"{", b'{"requ', b""):
        words[-1].write_bytes(left)
        assert command(*words) == (0, "", "")
        assert words[-1].read_bytes() == whole


def test_an_interrupt_keeps_what_is_done(command: Command, given: Path, monkeypatch: pytest.MonkeyPatch):
    words = ("--quiet", "--file", given, "--out", given.with_name("answers.jsonl"))
    calls = [0]

    def second(*arguments: Any) -> phases.Told:
        calls[0] += 1
        if calls[0] == 2:
            signal.raise_signal(signal.SIGINT)
        return write(*arguments)

    write = phases.UPDATE["write"]
    monkeypatch.setitem(phases.UPDATE, "write", second)
    ended = command(*words)
    assert ended.status == 130 and ended.err.startswith("Interrupted: 2 of 3 lines are in ")
    assert len(rows(words[-1])) == 2
    assert command(*words).status == 0 and len(rows(words[-1])) == 3


def test_bad_lines_are_sentences_and_the_others_are_answered(command: Command, texts: list[str], tmp_path: Path):
    bad = {
        "{": "it is no JSON (",
        "": "it is no JSON (",
        "[1]": "it holds a list: give an object.",
        '{"id": 1}': 'it has no "problem"',
        '{"id": 2, "problem": 5}': "5 is no problem",
        '{"id": 3, "problem": "nonsense"}': "the problem 'nonsense' cannot be read",
        json.dumps({"id": 4, "problem": " ".join([texts[0]] * 50)}): "cannot be read",
        json.dumps({"problem": texts[0], "seed": -1}): "seed = -1: give a whole number",
        json.dumps({"problem": texts[0], "answer": "2"}): "it has the key 'answer', which the output has for itself",
        json.dumps({"problem": texts[0], "score": float("nan")}): "it is no JSON (Out of range float values",
        '{"problem": "\\ud800"}': "cannot be read",
    }
    given, out = tmp_path / "problems.jsonl", tmp_path / "answers.jsonl"
    good = json.dumps({"problem": texts[0]})
    given.write_text("\n".join([good, *bad, good]))
    for _ in range(2):  # also where it is done already
        ended = command("--quiet", "--file", given, "--out", out)
        assert (ended.status, ended.err) == (
            1,
            f'{len(bad)} of {len(bad) + 2} lines have no answer: see their "error".\n',
        )
    first, *found, last = rows(out)
    assert {first["request"]} == {last["request"]} and first == last and "answer" in first
    for each, (line, words) in zip(found, bad.items(), strict=True):
        assert words in each["error"], line
    assert [each.get("id") for each in found[3:7]] == [1, 2, 3, 4]


def test_a_file_of_other_answers_is_left_alone(command: Command, given: Path):
    out = given.with_name("answers.jsonl")
    words = ("--quiet", "--file", given, "--out", out, "--no-update")
    assert command(*words).status == 0
    whole = out.read_bytes()
    for more in (["--votes=3"], ["--seed=1"], ["--budget=9t"], ["--timing"], ["--no-guard"]):
        assert "its line 1 is not of this input, model and options" in command(*words, *more).err
    changed = given.read_text().splitlines()
    given.write_text("\n".join([*changed[:1], changed[0], changed[2]]))
    assert "its line 2 is not of this input" in command(*words).err
    given.write_text(changed[0])
    assert "its line 2 is not of this input" in command(*words).err
    assert out.read_bytes() == whole
    given.write_text("\n".join([*changed, changed[0]]))
    assert command(*words).status == 0 and out.read_bytes().startswith(whole), "there may be more problems"
    for own in (b"my notes", b"my notes\n", b'{"request": "0000', b"[1]\n"):
        out.write_bytes(own)
        assert command(*words).status == 2 and out.read_bytes() == own


@pytest.mark.parametrize(
    ("written", "code", "way_out"),
    [
        (0, errno.ENOSPC, "make room"),
        (10, errno.ENOSPC, "make room"),
        (0, errno.EFBIG, "allow larger files (ulimit -f)"),
    ],
)
def test_a_full_disk_leaves_no_part_of_a_line(
    command: Command, given: Path, written: int, code: int, way_out: str, monkeypatch: pytest.MonkeyPatch
):
    out, pwrite = given.with_name("answers.jsonl"), os.pwrite

    def fills(file: int, data: bytes, offset: int) -> int:
        if not offset:
            return pwrite(file, data, offset)
        if not written:
            raise OSError(code, os.strerror(code))
        return pwrite(file, data[:written], offset)

    monkeypatch.setattr(answers.os, "pwrite", fills)
    ended = command("--quiet", "--no-update", "--file", given, "--out", out)
    assert ended.status == 2
    said = f"'{out}' cannot be written ({os.strerror(code)}): {way_out}, and start the same again.\n"
    assert ended.err == said
    assert len(rows(out)) == 1


def test_one_program_writes_at_a_time(tmp_path: Path):
    out = tmp_path / "answers.jsonl"
    with Answers(out, ["a"]), pytest.raises(InputError, match="Another program is writing '.*answers.jsonl'"):
        Answers(out, ["a"])
    with Answers(out, ["a"]) as found:
        assert found.done == 0


@pytest.mark.parametrize(
    ("path", "words"), [(".", "Is a directory"), ("no/x", "No such file"), ("/dev/null", "no file")]
)
def test_what_cannot_be_written_is_a_sentence(tmp_path: Path, path: str, words: str):
    with pytest.raises(InputError, match=words):
        Answers(tmp_path / path, [])


def test_a_request_is_all_that_decides_its_answer():
    same = request(b"line", {"a": 1, "b": 2})
    assert same == request(b"line", {"b": 2, "a": 1}) and len(same) == 16
    assert same != request(b"line ", {"a": 1, "b": 2}) and same != request(b"line", {"a": 1, "b": 3})
