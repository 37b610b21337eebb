"""What the server counts, in Prometheus' form."""

from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mass_jax.inference.adapted import Adapted
from mass_jax.inference.adapter import Event

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
ROWS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Of one server."""

    def __init__(self, waiting: Callable[[], int], running: Callable[[], int]):
        """All counts start at 0; the two functions tell how many requests wait and run."""
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("mass_requests", "Requests that were answered or left.", ("path", "status"), **own)
        self.seconds = Histogram("mass_request_seconds", "From its head to its end.", ("path",), buckets=SECONDS, **own)
        self._rows = Histogram("mass_batch_rows", "Requests of a batch.", buckets=ROWS, **own)
        self._phases = Histogram("mass_phase_seconds", "Of a batch.", ("phase",), buckets=SECONDS, **own)
        self._tokens = Counter("mass_tokens", "Written, or learned from.", ("phase",), **own)
        self._answers = Counter("mass_answers", "To problems.", ("updated",), **own)
        self._verdicts = Counter("mass_guard_verdicts", "On updates.", ("outcome",), **own)
        Gauge("mass_waiting", "Requests that wait.", **own).set_function(waiting)
        Gauge("mass_running", "Requests that run.", **own).set_function(running)

    def begun(self, rows: int) -> None:
        """A batch begins."""
        self._rows.observe(rows)

    def told(self, event: Event) -> None:
        """A phase ended."""
        if event.shown is not None:
            self._phases.labels(event.phase).observe(event.seconds)

    def done(self, results: Sequence[Any]) -> None:
        """A batch has ended well."""
        for result in results:
            if isinstance(result, Adapted):
                self._answers.labels(str(result.updated).lower()).inc()
                for phase in result.phases:
                    self._tokens.labels(phase.name).inc(phase.tokens)
                if result.verdict is not None:
                    self._verdicts.labels(result.verdict.outcome).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
