"""A file of answers, a line each, that can be continued: every line says which request it answers.

A line is written whole or not at all. What a kill leaves of one is cut off when the file is opened again.
"""

import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mass_jax import records
from mass_jax.errors import InputError

REQUEST = "request"


def request(line: bytes, made_with: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of a line of input and of all else that decides its answer."""
    words = json.dumps(made_with, sort_keys=True).encode()
    return hashlib.sha256(words + b"\0" + line).hexdigest()[:16]


class Answers:
    """Lines of JSON at ``path``, the first ones of those that are requested.

    Attributes:
      done: lines that are there.
      errors: how many of them say why there is no answer.
    """

    def __init__(self, path: Path, requests: Sequence[str]) -> None:
        """Opens the file, or makes it, and keeps others from writing it.

        Raises:
          InputError: it cannot be written, another program writes it, or it has answers to other requests.
        """
        self._path, self._requests = path, requests
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o644)
        except OSError as error:
            raise InputError(f"'{path}' cannot be written ({error.strerror}): give another file.") from None
        try:
            self._size, self.done, self.errors = self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Answers":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self.close()

    def close(self) -> None:
        """Others may write the file."""
        os.close(self._file)

    def append(self, values: Mapping[str, Any]) -> None:
        """Writes the next line, down to the disk.

        Raises:
          OSError: it cannot be; the file is as it was.
        """
        line = json.dumps({REQUEST: self._requests[self.done]} | dict(values)) + "\n"
        try:
            if os.pwrite(self._file, line.encode(), self._size) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except BaseException as error:
            os.ftruncate(self._file, self._size)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(self._path)) from None
            raise
        self._size += len(line)
        self.done += 1
        self.errors += "error" in values

    def _read(self) -> tuple[int, int, int]:
        """Bytes and lines that are there, and how many of these are errors; a torn last line is cut off."""
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise InputError(f"'{self._path}' is no file that can be continued: give one, or the name of a new one.")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Another program is writing '{self._path}': wait for it, end it, or give another file."
            ) from None
        except OSError:  # some network file systems know no locks
            pass
        with open(self._file, "rb", closefd=False) as file:
            *whole, torn = file.read().split(b"\n")
        errors = sum("error" in self._line(line, number) for number, line in enumerate(whole))
        if torn:
            begun = json.dumps({REQUEST: self._request(len(whole))})[:-1].encode()
            if not begun.startswith(torn[: len(begun)]):
                self._refuse(len(whole))
        size = sum(len(line) + 1 for line in whole)
        os.ftruncate(self._file, size)
        return size, len(whole), errors

    def _line(self, line: bytes, number: int) -> dict[str, Any]:
        """What the line of this number says, if it answers the request of this number."""
        try:
            found = records.parsed(line)
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get(REQUEST) != self._request(number):
            self._refuse(number)
        return found

    def _request(self, number: int) -> str:
        """That of this number, if there is one."""
        if number >= len(self._requests):
            self._refuse(number)
        return self._requests[number]

    def _refuse(self, number: int) -> NoReturn:
        raise InputError(
            f"'{self._path}' has other answers: its line {number + 1} is not of this input, model and options. Give "
            "them as they were, or another file."
        )
