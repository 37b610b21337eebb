"""One program at a time: a lock that says who has it, and that goes with its holder, however that one ends.

It is the operating system's own on an open file (``flock``), which Linux carries over NFS, too. The file stays; what it
says counts only while it is locked.
"""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from absl import logging

from mass_jax.errors import InputError


class LockedError(InputError):
    """Another program is at work there."""


_held: dict[Path, TextIO] = {}


def keep(path: Path) -> None:
    """Takes the lock for as long as this process lives; a process that has it already keeps it.

    Raises:
      LockedError: another process has it; the message says which.
    """
    path = path.resolve()
    if path not in _held:
        _held[path] = _at_once(path)


def kept(path: Path) -> bool:
    """Whether this process has taken the lock by `keep`."""
    return path.resolve() in _held


@contextlib.contextmanager
def at_once(path: Path) -> Iterator[TextIO]:
    """Holds the lock while its ``with`` statement lasts, and as long as any process lives that is given the file.

    Raises:
      LockedError: as `keep`.
    """
    with _at_once(path) as file:
        yield file


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[TextIO]:
    """Holds the lock as `at_once`; waits for it, which is said.

    Args:
      path: the file; its folder is made.
      what: what the holder is doing, for the sentence.
    """
    with _open(path) as file:
        if not _taken(file, fcntl.LOCK_NB):
            logging.warning("Waiting for another run, which %s: %s ('%s').", what, _holder(file), path)
            _taken(file, 0)
        yield file


def _at_once(path: Path) -> TextIO:
    """The open file, locked."""
    file = _open(path)
    if not _taken(file, fcntl.LOCK_NB):
        with file:
            raise LockedError(
                f"Another run is at work in '{path.parent}': {_holder(file)}. Wait for it, end it, or choose another "
                "--workdir."
            )
    return file


def _open(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise LockedError(
            f"The lock '{path}' cannot be opened ({error.strerror}): make room, or make its folder writable."
        ) from error


def _taken(file: TextIO, how: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | how)
    except BlockingIOError:
        return False
    except OSError as error:  # some network file systems know no locks
        logging.warning("'%s' cannot be locked (%s): see to it that no other run is at work there.", file.name, error)
        return True
    with contextlib.suppress(OSError):
        file.truncate(0)
    say(file, f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}")
    return True


def say(file: TextIO, words: str) -> None:
    """Adds words to what a lock says of its holder; on a full disk it holds, and only does not say them."""
    with contextlib.suppress(OSError):  # past the file's own buffer, which would be tried again when it is closed
        os.write(file.fileno(), words.encode())


def _holder(file: TextIO) -> str:
    file.seek(0)
    return file.read(200) or "it does not say which"


def _forget() -> None:
    for file in _held.values():
        file.close()


# A fork would hold the lock after its parent; to close its copy does not take it from the parent.
os.register_at_fork(after_in_child=_forget)
