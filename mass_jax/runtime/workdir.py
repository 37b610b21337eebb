"""A run's directory and the config that owns it."""

import fnmatch
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.parallel import hosts
from mass_jax.runtime import locks
from mass_jax.runtime.configs import Config, config_diff, describe_diff, to_json, way_back

CONFIG_FILE = "config.json"
LOCK_FILE = ".lock"


class WorkdirError(InputError):
    """The working directory cannot be used, or belongs to another config."""


def check_workdir(path: str | os.PathLike[str], config: Config, may_differ: Sequence[str] = ()) -> None:
    """Looks whether `open_workdir` would refuse the config, and writes nothing.

    Raises:
      WorkdirError: the directory belongs to another config.
    """
    directory = Path(os.path.expanduser(path)).absolute()
    if os.path.exists(directory / CONFIG_FILE):
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
    directory = Path(os.path.expanduser(path)).absolute()
    refused: InputError | None = None
    if hosts.first():
        try:
            _open(directory, config, may_differ)
        except InputError as e:
            refused = e
    if hosts.largest(refused is not None):
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
                f"'{file}' cannot be written ({e.strerror or e}): make room, or make its directory writable, and start "
                "the same again."
            ) from e
        raise


def _check_same(directory: Path, config: Config, may_differ: Sequence[str]) -> str:
    """The text of the config that is there."""
    try:
        old = (directory / CONFIG_FILE).read_text(encoding="utf-8")
        there = records.parsed(old)
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
            f"Choose another --workdir for the new values; {way_back(wrong)}"
        )
    if allowed:
        changed = describe_diff({name: diff[name] for name in sorted(allowed)}, "before", "now")
        logging.info("The run in '%s' continues with changed fields:\n%s", directory, changed)
    return old
