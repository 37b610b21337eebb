"""How far a run is, for the person who waits for it."""

import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from mass_jax.models import processes


class Progress:
    """A bar with the time left and a few live metrics; where there is no terminal, a plain line now and then.

    Of several processes only the first shows it.
    """

    def __init__(
        self,
        total: int,
        *,
        start: int = 0,
        label: str = "train",
        show: Sequence[str] = (),
        every_seconds: float = 30.0,
        console: Console | None = None,
    ) -> None:
        """Prepares the display, which a ``with`` statement starts.

        Args:
          total: the step at which the run ends.
          start: the step at which it starts, above 0 for a resumed run.
          label: what is running.
          show: names of the metrics to show.
          every_seconds: without a terminal, the least time between two lines; the first call and the last step
            always print.
          console: where to print; None for standard error.
        """
        self._total, self._start, self._label = total, start, label
        self._show, self._every = show, every_seconds
        self._console = console or Console(stderr=True, quiet=not processes.first())
        self._began = time.monotonic()
        self._printed = float("-inf")
        self._bar: Bar | None = None
        if self._console.is_terminal:
            columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[status]}"))
            self._bar = Bar(*columns, console=self._console)
            self._task = self._bar.add_task(label, total=total, completed=start, status="")

    def __enter__(self) -> "Progress":
        """Starts the clock and the bar."""
        self._began = time.monotonic()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the bar."""
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        """Shows that ``done`` steps are completed, with those of ``metrics`` that were asked for."""
        now = time.monotonic()
        fields = [f"{name} {metrics[name]:.4g}" for name in self._show if metrics and name in metrics]
        if done > self._start:
            left = (now - self._began) / (done - self._start) * (self._total - done)
            fields.insert(0, f"{duration(now - self._began)} gone, {duration(left)} left")
        if self._bar is not None:
            self._bar.update(self._task, completed=done, status=", ".join(fields))
        elif now - self._printed >= self._every or done >= self._total:
            self._printed = now
            line = ", ".join([f"{self._label} {done}/{self._total}", *fields])
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Returns ``seconds`` as ``4:05`` or ``1:02:03``."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"
