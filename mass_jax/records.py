"""JSON records of a run: a changed byte, a cut and another origin are noticed when one is read."""

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from mass_jax.errors import InputError

CHECKSUM = "checksum"
MADE_WITH = "made_with"
METHOD = ("adapt", "mass", "metagrad", "models", "tasks", "parallel", "types.py", "study/evaluator.py")
"""The parts of the package that decide what a model answers: practice, adaptation and decoding, with all that these
import (`parallel` decides the order of sums), and the evaluator, which draws their batches and keys."""
SAYS_ONLY = ("errors.py", "extras.py", "fields.py", "quantities.py")
"""What these import and no answer depends on: sentences for wrong input, the kinds of a config's fields, whose values
the config's own fingerprint covers, and names of metrics. A better sentence makes no evaluation stale."""

DEEPEST = 100
"""How deep JSON may be nested: far more than ours is, and far less than Python's functions can call each other."""
TRIES, PAUSE = 3, 0.5
"""How often a file is read that cannot be, and seconds between."""


class RecordError(InputError):
    """A record cannot be read. What it says is for the person who started the program."""


def checksum(value: Any) -> str:
    """Returns 8 hexadecimal digits of ``value``, which JSON can hold: equal after a round trip through JSON."""
    canonical = json.dumps(json.loads(json.dumps(value)), sort_keys=True)
    return f"{zlib.crc32(canonical.encode()):08x}"


def dumps(values: Mapping[str, Any], made_with: Mapping[str, Any] | None = None, indent: int | None = None) -> str:
    """Returns the text of a record.

    Args:
      values: what JSON can hold, by name.
      made_with: what the values depend on, for `read` to compare.
      indent: as of ``json.dumps``.
    """
    body = dict(values) if made_with is None else dict(values) | {MADE_WITH: dict(made_with)}
    return json.dumps(sealed(body), indent=indent)


def sealed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``body`` with its checksum."""
    return dict(body) | {CHECKSUM: checksum(body)}


def parsed(text: str | bytes) -> Any:
    """Returns what a JSON text holds.

    Raises:
      ValueError: it is none, or it is nested deeper than Python's functions can follow; the message says how.
    """
    with contextlib.suppress(RecursionError):
        found = level = [json.loads(text)]
        for _ in range(DEEPEST):
            lists = [list(each.values()) if isinstance(each, dict) else each for each in level]
            level = [each for values in lists if isinstance(values, list) for each in values]
            if not level:
                return found[0]
    raise ValueError(f"it is nested more than {DEEPEST} deep")


def unsealed(found: Any) -> dict[str, Any]:
    """Returns what `sealed` was given; what has no checksum is old, and taken as it is.

    Raises:
      ValueError: it is damaged; the message says how.
    """
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, not an object")
    body = {name: value for name, value in found.items() if name != CHECKSUM}
    if CHECKSUM in found and found[CHECKSUM] != checksum(body):
        raise ValueError("its checksum does not fit its content")
    return body


def loads(text: str) -> dict[str, Any]:
    """Returns what `dumps` was given, ``made_with`` under its name.

    Raises:
      ValueError: the text is damaged; the message says how.
    """
    return unsealed(parsed(text))


def read(path: Path, made_with: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Returns the values of the record at ``path``, or None where there is none that can be used, which is said.

    A damaged one is moved aside, to ``<path>.damaged``; a stale one is left for its successor to replace. One that
    cannot be read now, of a file system that is away for a moment, is neither.

    Args:
      path: the file.
      made_with: what a record must have been made with to be used; None for anything.

    Raises:
      RecordError: it is there and cannot be read.
    """
    try:
        found = loads(_text(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordError(
            f"'{path}' cannot be read ({error.strerror or error}): give the same command again when it can be."
        ) from None
    except ValueError as error:
        aside = path.with_name(f"{path.name}.damaged")
        with contextlib.suppress(OSError):  # of several processes another one was faster
            os.replace(path, aside)
        logging.warning("'%s' is damaged (%s): it is moved to '%s' and made again.", path, error, aside.name)
        return None
    before = found.pop(MADE_WITH, None) or {}
    if made_with is not None and (stale := [name for name in made_with if before.get(name) != made_with[name]]):
        reasons = ", ".join(f"{name} {before.get(name, 'not written down')}, now {made_with[name]}" for name in stale)
        logging.warning("'%s' is of another origin (%s): it is made again.", path, reasons)
        return None
    return found


def _text(path: Path) -> str:
    """The text of a file, tried a few times."""
    for _ in range(TRIES - 1):
        try:
            return path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError:
            time.sleep(PAUSE)
    return path.read_text(encoding="utf-8")


def method_version() -> str:
    """Returns 16 hexadecimal digits of all source files that decide what a model answers: other code, other digits."""
    root, digest = Path(__file__).parent, hashlib.sha256()
    files = [file for part in METHOD for file in ([root / part] if part.endswith(".py") else (root / part).rglob("*"))]
    for file in sorted(file for file in files if file.suffix in (".py", ".md")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
