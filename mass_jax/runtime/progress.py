"""How far a run is, for the person who waits for it."""

import time
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from mass_jax.parallel import hosts

_FIRST = 55
"""Columns of a terminal that the label leaves to the step, the bar and the clock."""


class Progress:
    """A bar with the time left and a few live metrics; where there is no terminal, a plain line now and then.

    On a terminal the step and the total come first, then a clock that goes on during a step, then what fits. Of several
    processes only the first shows it.
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
        self._console = console or Console(stderr=True, quiet=not hosts.first())
        self._began = time.monotonic()
        self._printed = float("-inf")
        self._done, self._doing, self._metrics = start, "", dict[str, float]()
        self._left: tuple[float, float] | None = None  # seconds, and when that was estimated
        self._expected = False
        self._bar: Bar | None = None
        if self._console.is_terminal:
            fixed, cut = Column(no_wrap=True), Column(no_wrap=True, max_width=max(self._console.width - _FIRST, 9))
            columns = (
                MofNCompleteColumn(table_column=fixed),
                TextColumn(label, table_column=cut),
                BarColumn(bar_width=12),
                _Clock(self, table_column=fixed),
                _Fields(table_column=Column(ratio=1)),
            )
            self._bar = Bar(*columns, console=self._console, expand=True)
            self._task = self._bar.add_task(label, total=total, completed=start, fields=[])

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

    def doing(self, what: str) -> None:
        """Shows what is being done until the next `update`."""
        self._doing = what
        self._display()

    def update(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        """Shows that ``done`` steps are completed, with those of ``metrics`` that were asked for."""
        self._done, self._doing = done, ""
        self._metrics = {name: metrics[name] for name in self._show if metrics and name in metrics}
        self._display()

    def expect(self, seconds: float) -> None:
        """Takes the caller's word for the time left from now on: its steps are not alike."""
        self._left, self._expected = (seconds, time.monotonic()), True

    def clock(self) -> str:
        """The time gone, and the time left at the pace of this run's steps."""
        now = time.monotonic()
        gone = f"{duration(now - self._began)} gone"
        if self._left is None:
            return gone
        seconds, estimated = self._left
        return f"{gone}, {duration(max(seconds - (now - estimated), 0.0))} left"

    def _display(self) -> None:
        now = time.monotonic()
        if self._done > self._start and not self._doing and not self._expected:
            self._left = (now - self._began) / (self._done - self._start) * (self._total - self._done), now
        fields = [self._doing] * bool(self._doing) + [f"{name} {value:.4g}" for name, value in self._metrics.items()]
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, fields=fields)
        elif now - self._printed >= self._every or self._done >= self._total:
            self._printed = now
            clock = [self.clock()] if self._left else []
            line = ", ".join([f"{self._label} {self._done}/{self._total}", *clock, *fields])
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Clock(ProgressColumn):
    """Rich draws it several times a second, whatever the run is waiting for."""

    def __init__(self, progress: Progress, table_column: Column) -> None:
        super().__init__(table_column)
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(self._progress.clock())


class _Fields(ProgressColumn):
    """As many of the fields as fit, each of them whole."""

    def render(self, task: Task) -> "_Fitting":
        return _Fitting(task.fields["fields"])


class _Fitting:
    def __init__(self, fields: Iterable[str]) -> None:
        self._fields = list(fields)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(0, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = list(self._fields)
        while shown and len(", ".join(shown)) > options.max_width:
            shown.pop()
        yield Text(", ".join(shown), no_wrap=True)


def duration(seconds: float) -> str:
    """Returns ``seconds`` as ``4:05`` or ``1:02:03``."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"
