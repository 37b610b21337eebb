"""TensorBoard's event file, which no run may depend on: with its first error it ends, and the run goes on.

Written without tensorboardX's ``SummaryWriter``: a full disk ends its thread, and the run waits on its queue for ever.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from absl import logging
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import scalar

FLUSH_EVERY = 120.0
"""Seconds between two flushes to disk; the first comes at once."""


class EventFile:
    """One event file; what a resumed run writes anew hides what earlier files have of those steps."""

    def __init__(self, directory: Path, resume_step: int) -> None:
        """Opens a file in ``directory``, which is made, for steps from ``resume_step`` on."""
        self._flushed = float("-inf")
        self._writer: EventsWriter | None = None
        with self._never_fatal(directory):
            directory.mkdir(parents=True, exist_ok=True)
            # The suffix keeps a run resumed within a second from writing over its own file, which the second names.
            self._writer = EventsWriter(str(directory / "events"), f".from{resume_step}")
            self._writer.write_event(Event(step=resume_step, file_version="brain.Event:2"))
            self._writer.write_event(Event(step=resume_step, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds the scalars of one step."""
        if self._writer is None:
            return
        with self._never_fatal(self._writer._file_name):
            found = [value for name, number in values.items() for value in scalar(name, number).value]
            self._writer.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=found)))
            if time.monotonic() - self._flushed > FLUSH_EVERY:
                self._flushed = time.monotonic()
                self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            with self._never_fatal(self._writer._file_name):
                self._writer.close()
        self._writer = None

    @contextlib.contextmanager
    def _never_fatal(self, where: Path | str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # it only shows: whatever goes wrong in there is no reason to stop
            logging.warning("No more TensorBoard events of this run: '%s' cannot be written (%s).", where, error)
            self._writer = None
