"""``mass-serve``: loads a model and serves it until it is told to stop."""

import argparse
import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn
from absl import logging

from mass_jax.errors import InputError
from mass_jax.inference.adapter import MassAdapter
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.serving.app import application
from mass_jax.serving.door import Limits, is_loopback
from mass_jax.serving.worker import Worker

KEY = "MASS_API_KEY"
"""The variable of the environment that has the key."""
LAST = 10
"""Seconds in which answers that are ready have to be taken when the server ends."""


def run(words: Sequence[str] | None = None) -> NoReturn:
    """Serves what the command line asks for, and exits: with 0 after SIGTERM or Ctrl-C, while it loads with 130.

    Args:
      words: of the command line; this process's where not given.
    """

    def main() -> int:
        logging.use_absl_handler()
        return _serve(_parser().parse_args(words))

    program.script(main)


def _serve(given: argparse.Namespace) -> int:
    key = _key(given.host, given.api_key)
    limits = _limits(given)
    taken = _socket(given.host, given.port)
    enable_compilation_cache()
    adapter = MassAdapter.load(
        given.model, given.arm, given.batch, given.domain, given.prompts, not given.no_guard, given.audit
    )
    name = given.name or Path(given.model).name
    app = application(dataclasses.replace(adapter, name=name), limits, key)
    # Of h11, which is Python alone; of every request a line would say who asked for what.
    config = uvicorn.Config(
        app, http="h11", ws="none", log_level="warning", access_log=False, timeout_graceful_shutdown=LAST
    )
    taken.listen()  # whoever reads the next line may call
    host, port = taken.getsockname()[:2]
    print(f"{name} is served at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    Server(config, app.state.service.worker).run(sockets=[taken])
    return program.DONE


class Server(uvicorn.Server):
    """Ends in order: at a notice it goes on answering, refusing what is new, until the batch that runs is done."""

    _loop: asyncio.AbstractEventLoop | None

    def __init__(self, config: uvicorn.Config, worker: Worker):
        super().__init__(config)
        self._worker, self._loop = worker, None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Remembers its loop, which alone may be told something from a handler of signals."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first notice lets what runs end; Ctrl-C again ends at once."""
        if not self._worker.open and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        elif self._loop is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._worker.close, self._end)

    def _end(self) -> None:
        self.should_exit = True


def _parser() -> argparse.ArgumentParser:
    parser = program.Parser("mass-serve", description="Serve a model, adapted to every request, over HTTP.")
    add, most = parser.add_argument, Limits()
    add("--model", required=True, help="the directory of a run; or a model: a folder, a .gguf file, or a hub id")
    add("--arm", help="of a run, the row of its table that answers (mass)")
    add("--domain", help="of a model, what its problems are (mathematics)")
    add("--prompts", help="of a model, a file with the words to ask in, or the name of a data set (gsm8k)")
    add("--no-guard", action="store_true", help="take updates as they are (docs/safeguards.md)")
    add("--audit", help="a file that every update is written down in")
    add("--name", help="by which clients call it; the last part of --model where not given")
    add("--batch", type=int, default=1, help="requests that are adapted at once (%(default)s)")
    add("--host", default="127.0.0.1", help="where to listen; others than this machine's own need a key (%(default)s)")
    add("--port", type=int, default=8000, help="0 for any that is free (%(default)s)")
    add("--api-key", help=f"that clients have to have; {KEY} in the environment does the same, and no list shows it")
    add("--max-body", type=int, default=most.body_bytes, help="bytes of a request's body (%(default)s)")
    add("--max-queue", type=int, default=most.queue, help="requests that may wait (%(default)s)")
    add("--max-seconds", type=float, default=most.seconds, help="that a request may take (%(default)s)")
    return parser


def _key(host: str, given: str | None) -> str | None:
    key = os.environ.get(KEY) if given is None else given
    if key is not None and (not key or key != key.strip() or not key.isascii()):
        raise InputError(f"the key is empty, or has other letters than ASCII's: give another by --api-key or {KEY}.")
    if key is None and not is_loopback(host):
        raise InputError(
            f"--host={host} can be reached from elsewhere, and there is no key: give one by --api-key or {KEY}, or "
            "listen at 127.0.0.1."
        )
    return key


def _limits(given: argparse.Namespace) -> Limits:
    for name in ("max_body", "max_queue", "max_seconds"):
        if not getattr(given, name) > 0:
            raise InputError(f"--{name.replace('_', '-')} = {getattr(given, name)}: give a number above 0.")
    return Limits(given.max_body, given.max_queue, given.max_seconds)


def _socket(host: str, port: int) -> socket.socket:
    """Taken before anything is loaded: an address that is in use is said at once."""
    with contextlib.ExitStack() as stack:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            taken = stack.enter_context(socket.socket(family))
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"--host={host} --port={port} cannot be listened at ({error}): give others.") from None
        stack.pop_all()
    return taken
