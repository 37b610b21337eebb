"""The audit: a file of updates to which lines are only ever added, and in which a change is found.

Every line is a JSON object: ``n``, its number from 1; ``before``, the hash of the line before it (64 zeros before the
first); what is recorded; and ``hash``, SHA-256 of all of that. ``<file>.head`` beside it has the number and the hash of
the last line, so that lines that are missing at the end are found. There is no secret in it: whoever can write both
files can write them anew. Keep the head in another place to find that.

A line is written at once and flushed. What a process leaves behind that ends meanwhile is a torn line, without its end:
the next one that writes takes it off and says so, by ``torn``, in the line that it adds.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.runtime.workdir import write_atomically

START = "0" * 64
KEYS = ("n", "before", "hash", "torn")
"""Names that a record may not have."""


class Checked(NamedTuple):
    """What `verify` finds.

    Attributes:
      faults: a sentence each, which name the line; none where all is as it was written.
      lines: how many there are.
      head: the hash of the last one.
    """

    faults: list[str]
    lines: int
    head: str


def ready(path: Path) -> Path:
    """The path of a file that can be written, which is made where it is missing.

    Raises:
      InputError: it cannot be.
    """
    with _sentence(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a device would be read for ever, a pipe waited for
            raise InputError(
                f"the audit '{path}' cannot be written: it is no file that can be continued. Name one, or a new one."
            )
        with path.open("ab"):
            return path


def append(path: Path, found: Sequence[Mapping[str, Any]]) -> None:
    """Adds a line for each record; one process at a time.

    Args:
      path: the file; it is made where it is missing.
      found: records that JSON can hold, without NaN, and without `KEYS`.

    Raises:
      InputError: the file cannot be written, or its last line cannot be read.
    """
    if not found:
        return
    with _sentence(path), ready(path).open("a+b") as file, _alone(file):
        n, before, torn = _last(file, path)
        text = ""
        for each in found:
            line = {"n": n + 1, "before": before} | ({"torn": torn} if torn else {}) | dict(each)
            n, before, torn = n + 1, digest(line), 0
            text += json.dumps(line | {"hash": before}, allow_nan=False) + "\n"
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
        write_atomically(_head(path), json.dumps({"lines": n, "hash": before}) + "\n")


@contextlib.contextmanager
def _sentence(path: Path) -> Iterator[None]:
    """What the system says of a file that cannot be written, as a sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the audit '{path}' cannot be written ({error.strerror or error}): make room, make its folder "
            "writable, or name another file."
        ) from error


def read(path: Path) -> list[dict[str, Any]]:
    """The records, as they are; a torn last line is left out.

    Raises:
      InputError: the file cannot be read, or a line of it is no JSON object.
    """
    found = []
    for number, line in enumerate(_lines(path)[0], 1):
        if (value := _parsed(line)) is None:
            raise InputError(f"line {number} of '{path}' is no record: see what `audit.verify` says of the file.")
        found.append(value)
    return found


def verify(path: str | os.PathLike[str]) -> Checked:
    """Looks whether the file is what was written.

    Raises:
      InputError: it cannot be read.
    """
    path = Path(path)
    lines, torn = _lines(path)
    faults, before, expected, hashes = list[str](), START, 1, list[str]()
    for number, line in enumerate(lines, 1):
        value = _parsed(line)
        if value is None:
            faults.append(f"line {number} is no record")
            expected += 1
            continue
        said, own = value.get("hash"), digest({key: each for key, each in value.items() if key != "hash"})
        if said != own:
            faults.append(f"line {number} was changed: its hash does not fit what it holds")
        faults += _placed(number, value, expected, before)
        n = value.get("n")
        before, expected = str(said), (n if isinstance(n, int) else expected) + 1
        hashes.append(before)
    if torn:
        faults.append(f"line {len(lines) + 1} is torn: it has {torn} bytes and no end; what is added takes it off")
    faults += _after(path, hashes)
    return Checked(faults, len(lines), before)


def digest(value: Any) -> str:
    """SHA-256 of what JSON can hold, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _placed(number: int, value: Mapping[str, Any], expected: int, before: str) -> Iterator[str]:
    """What is wrong with the place of a line."""
    n = value.get("n")
    if isinstance(n, int) and n > expected:
        missing = f"line {expected} is" if n == expected + 1 else f"lines {expected} to {n - 1} are"
        yield f"{missing} missing before line {number}, or stand elsewhere"
    elif n != expected:
        yield f"line {number} was written as number {n}: it is out of its order, or repeated"
    elif value.get("before") != before:
        yield f"line {number} does not follow the line before it: one of them is another one"


def _after(path: Path, hashes: Sequence[str]) -> Iterator[str]:
    """What the head says that is not so."""
    try:
        head = records.parsed(_head(path).read_text(encoding="utf-8"))
        count, said = int(head["lines"]), head["hash"]
    except (OSError, ValueError, KeyError, TypeError):
        if hashes:
            yield f"'{_head(path).name}' is missing or damaged: lines that are missing at the end would not be found"
        return
    if count > len(hashes):
        yield f"lines are missing: there were {count} and there are {len(hashes)}"
    elif said not in hashes[count - 1 :]:
        yield f"the last line is not the one that '{_head(path).name}' names"


def _last(file: BinaryIO, path: Path) -> tuple[int, str, int]:
    """Number and hash of the last line, and the bytes of a torn one, which is taken off."""
    file.seek(0)
    *lines, rest = file.read().split(b"\n")
    if rest:
        file.truncate(file.tell() - len(rest))
        file.seek(0, os.SEEK_END)
    if not lines:
        return 0, START, len(rest)
    value = _parsed(lines[-1])
    if value is None or not isinstance(value.get("n"), int):
        raise InputError(
            f"the last line of the audit '{path}' is no record: keep the file, see what `audit.verify` says of it, and "
            "name another one."
        )
    return value["n"], str(value.get("hash")), len(rest)


def _lines(path: Path) -> tuple[list[bytes], int]:
    """The whole lines, and the bytes of a torn one."""
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"the audit '{path}' cannot be read ({error.strerror}): name the file of one.") from None
    return lines, len(rest)


def _parsed(line: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        value = records.parsed(line)
        return value if isinstance(value, dict) else None
    return None


def _head(path: Path) -> Path:
    return path.with_name(f"{path.name}.head")


@contextlib.contextmanager
def _alone(file: BinaryIO) -> Iterator[None]:
    """Holds the file's lock."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
