"""A damaged record is not used, nor one of another origin; both are said."""

import ast
import json
import logging
import math
from pathlib import Path

import pytest

from mass_jax import records

VALUES = {"correct": [True, False], "seconds": 1e-17 / 3, "text": "\ud83d é", "bad": [math.inf, None], "by": {"a": 1}}
ORIGIN = {"config": "0123", "parameters": "4567"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mass.json"
    path.write_text(records.dumps(VALUES, ORIGIN))
    return path


def test_what_is_written_is_read(path: Path):
    assert records.read(path) == records.read(path, ORIGIN) == records.read(path, {"config": "0123"}) == VALUES
    path.write_text(records.dumps({1: 2}, indent=2))
    assert records.read(path) == {"1": 2}
    path.write_text(json.dumps({"old": 1}))
    assert records.read(path) == {"old": 1}, "written before there were checksums"
    assert records.read(path.with_name("none.json")) is None


def test_no_byte_changes_unnoticed(path: Path, caplog: pytest.LogCaptureFixture):
    text, found = path.read_bytes(), []
    for place in range(len(text)):
        for bit in (1, 8, 128):
            damaged = text[:place] + bytes([text[place] ^ bit]) + text[place + 1 :]
            path.write_bytes(damaged)
            read = records.read(path, ORIGIN)
            # A flip in the name of the checksum makes an old record of it, whose values are untouched.
            assert read in (None, VALUES) or {k: v for k, v in read.items() if k in VALUES} == VALUES, damaged
            found.append(read is None)
    assert sum(found) > 0.9 * len(found)
    assert "is damaged" in caplog.text


@pytest.mark.parametrize(
    "text", ["[" * 101 + "]" * 101, '{"a":' * 101 + "1" + "}" * 101, "[" * 200_000], ids=["list", "object", "torn"]
)
def test_what_is_nested_too_deeply_is_no_json_of_ours(text: str):
    with pytest.raises(ValueError, match="it is nested more than 100 deep"):
        records.parsed(text)
    assert records.parsed('[{"a": [1, []]}, 2]') == [{"a": [1, []]}, 2] and records.parsed(b"1") == 1
    assert records.parsed("[" * 99 + "]" * 99)


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{", b'{"a": \xff}', b'{"a": 1, "checksum": "00000000"}', b"[" * 999]
)
def test_a_damaged_record_is_moved_aside(path: Path, content: bytes, caplog: pytest.LogCaptureFixture):
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert records.read(path) is None
    assert not path.exists() and path.with_name("mass.json.damaged").read_bytes() == content
    assert f"'{path}' is damaged" in caplog.text and "made again" in caplog.text


def test_a_record_that_cannot_be_read_now_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(records, "PAUSE", 0.0)
    path.write_text(records.dumps(VALUES))
    read, failures = Path.read_text, [OSError(116, "Stale file handle")] * 2

    def fails(self: Path, **options: str) -> str:
        if failures:
            raise failures.pop()
        return read(self, **options)

    monkeypatch.setattr(Path, "read_text", fails)
    assert records.read(path) == VALUES, "the third time it can be"
    failures += [OSError(116, "Stale file handle")] * records.TRIES
    with pytest.raises(
        records.RecordError, match="mass.json' cannot be read .Stale file handle.: give the same command"
    ):
        records.read(path)
    assert path.exists()
    assert records.read(Path("/dev/null/timing.json")) is None, "a workdir that is no folder is refused elsewhere"


def test_a_record_of_another_origin_is_not_used(path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert records.read(path, ORIGIN | {"parameters": "89ab"}) is None
    assert f"'{path}' is of another origin (parameters 4567, now 89ab): it is made again" in caplog.text
    path.write_text(records.dumps(VALUES))
    assert records.read(path, ORIGIN) is None
    assert "config not written down" in caplog.text


def test_other_code_is_another_version(monkeypatch: pytest.MonkeyPatch):
    before = records.method_version()
    assert before == records.method_version() and len(before) == 16
    monkeypatch.setattr(records, "METHOD", records.METHOD[:-1])
    assert records.method_version() != before


def test_the_version_covers_whatever_answers_depend_on():
    """All that practice, adaptation and decoding import, through any number of modules."""
    package = Path(records.__file__).parent
    assert all((package / part).exists() for part in (*records.METHOD, *records.SAYS_ONLY))
    files = {file for part in ("adapt", "mass") for file in (package / part).rglob("*.py")}
    seen: set[Path] = set()
    while files:
        seen |= files
        files = {found for file in files for found in _imported(file, package)} - seen
    parts = {file.relative_to(package).parts[0] for file in seen}
    assert {"adapt", "mass", "metagrad", "models", "tasks", "parallel", "types.py"} <= parts <= {
        *records.METHOD, *records.SAYS_ONLY
    }  # fmt: skip


def _imported(file: Path, package: Path) -> set[Path]:
    """The files of the package that one of them imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level and str(node.module).startswith("mass_jax"):
            base = package.parent.joinpath(*str(node.module).split("."))
            tries = [base, *(base / alias.name for alias in node.names)]
            found |= {path.with_suffix(".py") for path in tries if path.with_suffix(".py").exists()}
    return found
