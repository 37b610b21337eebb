"""The tiny run as a server: in this process, and over a socket."""

import contextlib
import dataclasses
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.applications import Starlette

from mass_jax.inference.adapter import MassAdapter
from mass_jax.serving.app import application
from mass_jax.serving.door import Limits
from mass_jax.serving.service import Service
from mass_jax.study.load import read_config

RUN = Path(__file__).parents[1] / "study" / "earlier" / "run"
PATIENCE = 300.0
"""Seconds after which a test fails that waits for what has to come."""


class Served(NamedTuple):
    """A server over a socket."""

    port: int
    service: Service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sent(self, path: str, body: Any) -> http.client.HTTPConnection:
        """A connection that a request was sent over, and no answer read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return connection


@pytest.fixture(scope="session")
def adapter() -> MassAdapter:
    return dataclasses.replace(MassAdapter.load(RUN, batch=2), name="tiny")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Problems of the run's domain."""
    return [problem.prompt for problem in read_config(RUN).task.load("test")[:6]]


@contextlib.contextmanager
def serving(app: Starlette) -> Iterator[Served]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, http="h11", ws="none", log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield Served(server.servers[0].sockets[0].getsockname()[1], app.state.service)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def served(adapter: MassAdapter) -> Iterator[Served]:
    with serving(application(adapter)) as found:
        yield found


@pytest.fixture
def small(adapter: MassAdapter) -> Iterator[Served]:
    """One of its own, with room for three that wait."""
    with serving(application(adapter, Limits(queue=3))) as found:
        yield found


def until(condition: Callable[[], Any]) -> None:
    """Waits until it holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)
