"""The audit finds what was changed in it, and says which line; a torn line is taken off and told of."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mass_jax.errors import InputError
from mass_jax.guard import audit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of five records, written one, two and two at a time."""
    path = tmp_path / "deep" / "audit.jsonl"
    audit.append(path, [{"what": 0}])
    audit.append(path, [{"what": 1}, {"what": 2}])
    audit.append(path, [{"what": 3}, {"what": 4, "value": 0.1}])
    return path


def test_what_is_written_is_read_and_sound(path: Path):
    assert [each["what"] for each in audit.read(path)] == list(range(5))
    found = audit.verify(path)
    assert (found.faults, found.lines) == ([], 5)
    assert found.head == json.loads(path.with_name("audit.jsonl.head").read_text())["hash"]
    audit.append(path, [])
    assert audit.verify(path) == audit.verify(str(path)) == found


def changed(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"what": 2', b'"what": 7') for line in lines]


def rehashed(lines: list[bytes]) -> list[bytes]:
    value = json.loads(lines[2]) | {"what": 7}
    value["hash"] = audit.digest({key: each for key, each in value.items() if key != "hash"})
    return [*lines[:2], json.dumps(value).encode(), *lines[3:]]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (changed, ["line 3 was changed"]),
        (rehashed, ["line 4 does not follow the line before it"]),
        (lambda lines: lines[:1] + lines[2:], ["line 2 is missing before line 2"]),
        (lambda lines: lines[3:], ["lines 1 to 3 are missing before line 1"]),
        (lambda lines: lines[:3], ["lines are missing: there were 5 and there are 3"]),
        (
            lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
            ["line 2 is missing before line 2", "line 3 was written as number 2", "line 3 is missing before line 4"],
        ),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], ["line 3 was written as number 2"]),
        (lambda lines: [lines[0], b"?", *lines[2:]], ["line 2 is no record", "line 3 does not follow"]),
        (lambda lines: [lines[0], b"\xff[", *lines[2:]], ["line 2 is no record", "line 3 does not follow"]),
    ],
)
def test_a_change_is_found_and_named(path: Path, damage: Callable[[list[bytes]], list[bytes]], words: list[str]):
    path.write_bytes(b"".join(line + b"\n" for line in damage(path.read_bytes().splitlines())))
    faults = audit.verify(path).faults
    for sentence in words:
        assert any(sentence in fault for fault in faults), faults
    assert len(faults) <= len(words) + 1, faults


def test_every_cut_is_found(path: Path):
    whole, first = path.read_bytes(), path.read_bytes().index(b"\n") + 1
    for cut in (0, 10, first - 1, first, first + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert audit.verify(path).faults, cut


def test_a_torn_line_is_taken_off_and_told_of(path: Path):
    with path.open("ab") as file:
        file.write(b'{"n": 6, "bef')
    assert "line 6 is torn: it has 13 bytes" in audit.verify(path).faults[0]
    assert len(audit.read(path)) == 5
    audit.append(path, [{"what": 5}])
    assert audit.verify(path).faults == []
    assert audit.read(path)[-1] | {"hash": ""} == {
        "n": 6,
        "before": audit.read(path)[4]["hash"],
        "torn": 13,
        "what": 5,
        "hash": "",
    }


def test_a_line_that_its_head_does_not_know_yet_is_sound(path: Path):
    """A process may end between the two writes."""
    head = path.with_name("audit.jsonl.head")
    before = head.read_text()
    audit.append(path, [{"what": 5}])
    head.write_text(before)
    assert audit.verify(path).faults == []
    head.unlink()
    assert "'audit.jsonl.head' is missing or damaged" in audit.verify(path).faults[0]


def test_what_is_no_file_is_neither_read_nor_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for each in (tmp_path / "pipe", tmp_path, Path("/dev/null")):  # /dev/full would be read until no memory is left
        with pytest.raises(InputError, match="it is no file that can be continued. Name one, or a new one"):
            audit.ready(each)


def test_what_cannot_be_used_is_a_sentence(tmp_path: Path, path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        audit.verify(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="cannot be written"):
        audit.append(tmp_path, [{"what": 0}])
    with pytest.raises(ValueError, match="not JSON compliant"):
        audit.append(path, [{"what": float("nan")}])
    assert audit.verify(path).faults == []
    path.write_bytes(path.read_bytes() + b"garbage\n")
    with pytest.raises(InputError, match="the last line of the audit"):
        audit.append(path, [{"what": 5}])
