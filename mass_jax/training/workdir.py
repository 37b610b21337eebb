"""A run's directory and the config that owns it."""

import difflib
import fnmatch
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from absl import logging
from ml_collections import ConfigDict

from mass_jax.models import processes
from mass_jax.training import locks
from mass_jax.training.errors import InputError

CONFIG_FILE = "config.json"
LOCK_FILE = ".lock"
ABSENT = "<absent>"
"""Stands in a diff for the value of a field that one of the two configs does not have."""

Config: TypeAlias = ConfigDict | Mapping[str, Any]


class WorkdirError(InputError):
    """The working directory cannot be used, or belongs to another config."""


def to_json(config: Config) -> str:
    """Returns ``config`` as sorted, indented JSON: equal configs give equal text.

    Raises:
      WorkdirError: a field holds something JSON cannot (a function, an array).
    """

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, ConfigDict | Mapping):
            return {str(k): plain(v, f"{path}.{k}" if path else str(k)) for k, v in value.items()}
        if isinstance(value, tuple | list):
            return [plain(v, f"{path}[{i}]") for i, v in enumerate(value)]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        raise WorkdirError(
            f"Config field '{path}' holds a {type(value).__name__}, which cannot be written as JSON. "
            "Use numbers, strings, booleans, None, lists and nested configs; name a function by a string."
        )

    return json.dumps(plain(config, ""), sort_keys=True, indent=2)


def flatten(config: Config) -> dict[str, Any]:
    """Returns ``{"model.width": 8, ...}``: every leaf of ``config`` (as JSON) by its dotted name."""

    def walk(node: Any, path: str) -> dict[str, Any]:
        if not isinstance(node, dict) or not node:
            return {path: node} if path else {}
        return {k: v for key, child in node.items() for k, v in walk(child, f"{path}.{key}" if path else key).items()}

    return walk(json.loads(to_json(config)), "")


def config_diff(a: Config, b: Config) -> dict[str, tuple[Any, Any]]:
    """Returns the fields in which two configs differ, as ``{dotted name: (value in a, value in b)}``.

    A field that one of them lacks has the value ``ABSENT`` there. Empty exactly when the fingerprints are equal.
    """
    flat_a, flat_b = flatten(a), flatten(b)
    pairs = {name: (flat_a.get(name, ABSENT), flat_b.get(name, ABSENT)) for name in sorted({*flat_a, *flat_b})}
    # Compared as text, as the fingerprint does: NaN equals itself, and 1 is not 1.0 nor True.
    return {name: pair for name, pair in pairs.items() if json.dumps(pair[0]) != json.dumps(pair[1])}


def describe_diff(diff: Mapping[str, tuple[Any, Any]], a: str, b: str) -> str:
    """Returns one indented line a differing field: ``  model.width: 8 (a), 16 (b)``."""
    return "\n".join(f"  {name}: {old!r} ({a}), {new!r} ({b})" for name, (old, new) in diff.items())


def fingerprint(config: Config) -> str:
    """Returns 16 hexadecimal digits that are equal for equal configs, whatever the order of their fields."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()[:16]


def nearest(name: str, valid: Sequence[str], count: int = 3) -> list[str]:
    """Returns up to ``count`` of the dotted ``valid`` names closest to ``name``, best first.

    A name also counts as close if only its last part is: ``learning_rat`` finds ``outer.learning_rate``.
    """

    def similarity(candidate: str) -> float:
        pairs = ((name, candidate), (name.rsplit(".", 1)[-1], candidate.rsplit(".", 1)[-1]))
        whole, last = (difflib.SequenceMatcher(None, x, y).ratio() for x, y in pairs)
        return max(whole, last) + 0.01 * whole

    scored = sorted(((similarity(v), v) for v in valid), key=lambda pair: -pair[0])
    return [v for score, v in scored[:count] if score >= 0.6]


def check_workdir(path: str | os.PathLike[str], config: Config, may_differ: Sequence[str] = ()) -> None:
    """Looks whether `open_workdir` would refuse the config, and writes nothing.

    Raises:
      WorkdirError: the directory belongs to another config.
    """
    directory = Path(path).expanduser().absolute()
    if (directory / CONFIG_FILE).exists():
        _check_same(directory, config, may_differ)


def open_workdir(path: str | os.PathLike[str], config: Config, may_differ: Sequence[str] = ()) -> Path:
    """Makes the directory of a run, or opens it again for the same config, and keeps other runs out of it.

    A new directory gets ``config.json``. In one that has it already, ``config`` must equal it, except in the fields
    that ``may_differ`` names; those are then updated in the file. The first of several processes writes; as long as it
    lives, no other run can open the directory.

    Args:
      path: the directory; parents are made.
      config: the run's config.
      may_differ: dotted names or glob patterns (``"log.*"``) of fields that may change between runs, such as the
        number of steps of a run to be prolonged.

    Returns:
      The directory, absolute.

    Raises:
      WorkdirError: the path cannot be written, or the directory belongs to another config.
      LockedError: another run is at work in it.
    """
    directory = Path(path).expanduser().absolute()
    refused: InputError | None = None
    if processes.first():
        try:
            _open(directory, config, may_differ)
        except InputError as e:
            refused = e
    if processes.largest(refused is not None):
        raise refused or WorkdirError(f"The first process cannot use the working directory '{directory}'.")
    return directory


def _open(directory: Path, config: Config, may_differ: Sequence[str]) -> None:
    text, file = to_json(config), directory / CONFIG_FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        locks.keep(directory / LOCK_FILE)
        old = _check_same(directory, config, may_differ) if file.exists() else None
    except OSError as e:
        raise WorkdirError(
            f"The working directory '{directory}' cannot be written ({e.strerror or e}). "
            "Give --workdir a directory that you may create and write."
        ) from e
    if old != text:
        write_atomically(file, text)


def write_atomically(file: Path, text: str) -> None:
    """Writes ``text`` so that a reader, or a run after a kill, finds the old file or the new one, never a part.

    Raises:
      WorkdirError: it cannot be written, as on a full disk; the old file is as it was.
    """
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)  # mkstemp hides its files from other users, who may want to read a run
        os.replace(temporary, file)
    except BaseException as e:
        if temporary is not None:
            os.unlink(temporary)
        if isinstance(e, OSError):
            raise WorkdirError(
                f"'{file}' cannot be written ({e.strerror or e}). Make room, or make its directory writable, and give "
                "the same command again: what is finished is not done again."
            ) from e
        raise


def _check_same(directory: Path, config: Config, may_differ: Sequence[str]) -> str:
    """The text of the config that is there."""
    try:
        old = (directory / CONFIG_FILE).read_text(encoding="utf-8")
        there = json.loads(old)
        if not isinstance(there, dict):
            raise ValueError(f"it holds a {type(there).__name__}")
    except (OSError, ValueError) as e:  # among them what is not UTF-8, and what is not JSON
        raise WorkdirError(
            f"'{directory / CONFIG_FILE}' is not the JSON of a config ({e}). Choose another --workdir, or remove the "
            "file if you are sure which config this directory belongs to."
        ) from e
    diff = config_diff(there, config)
    allowed = {name for name in diff if any(fnmatch.fnmatchcase(name, pattern) for pattern in may_differ)}
    if wrong := {name: pair for name, pair in diff.items() if name not in allowed}:
        raise WorkdirError(
            f"The working directory '{directory}' belongs to a run with another config, differing in:\n"
            f"{describe_diff(wrong, 'there', 'now')}\n"
            "Choose another --workdir for the new values, or set the old values to continue the old run."
        )
    if allowed:
        changed = describe_diff({name: diff[name] for name in sorted(allowed)}, "before", "now")
        logging.info("The run in '%s' continues with changed fields:\n%s", directory, changed)
    return old
