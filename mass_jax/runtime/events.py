"""TensorBoard's event file, which no run may depend on: with its first error it ends, and the run goes on.

Written record by record: a full disk ends the thread of TensorBoard's ``EventFileWriter``, and the run waits on its
queue for ever. tensorboardX would import PyTorch wherever it is installed, for longer than JAX takes.
"""

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from absl import logging
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

FLUSH_EVERY = 120.0
"""Seconds between two flushes to disk; the first comes at once."""


class EventFile:
    """One event file; what a resumed run writes anew hides what earlier files have of those steps."""

    def __init__(self, directory: Path, resume_step: int) -> None:
        """Opens a file in ``directory``, which is made, for steps from ``resume_step`` on."""
        self._flushed = float("-inf")
        # The suffix keeps a run resumed within a second from writing over its own file, which the second names.
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.from{resume_step}"
        self._path = directory / name
        self._writer: RecordWriter | None = None
        with self._never_fatal():
            directory.mkdir(parents=True, exist_ok=True)
            self._writer = RecordWriter(open(self._path, "wb"))  # noqa: SIM115 (`close` closes it)
            self._put(Event(step=resume_step, file_version="brain.Event:2"))
            self._put(Event(step=resume_step, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds the scalars of one step."""
        if self._writer is None:
            return
        with self._never_fatal():
            found = [Summary.Value(tag=name, simple_value=number) for name, number in values.items()]
            self._put(Event(step=step, summary=Summary(value=found)))
            if time.monotonic() - self._flushed > FLUSH_EVERY:
                self._flushed = time.monotonic()
                self._writer.flush()

    def close(self, failed: bool = False) -> None:
        """Closes the file; of a run that failed without a word about what it lacks."""
        if self._writer is not None:
            with contextlib.suppress(Exception) if failed else self._never_fatal():
                self._writer.close()
        self._writer = None

    def _put(self, event: Event) -> None:
        assert self._writer is not None
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())

    @contextlib.contextmanager
    def _never_fatal(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # it only shows: whatever goes wrong in there is no reason to stop
            logging.warning("No more TensorBoard events of this run: '%s' cannot be written (%s).", self._path, error)
            self._writer = None
