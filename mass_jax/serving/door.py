"""What every request passes: who may come in, how much it may bring; and what is counted of it."""

import hmac
import ipaddress
import time
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mass_jax.serving.metrics import Metrics
from mass_jax.serving.refusal import Refusal, of_body

T = TypeVar("T", bound=BaseModel)
FREE = ("/", "/health")
"""Needs no key: the page, which has a field for it, and whether the server lives."""
LEFT = 499
"""The status that is counted where nobody waits for the answer."""
READ_ON = 16
"""So many times its limit of a body is read to its end and thrown away, so that its sender hears why."""


class Limits(NamedTuple):
    """What one request may ask for, and all together.

    Attributes:
      body_bytes: of a request.
      queue: requests that wait; a prompt of a list counts as one.
      seconds: from the head of a request to the end of its answer.
    """

    body_bytes: int = 1 << 20
    queue: int = 64
    seconds: float = 600.0


class Door:
    """Middleware that lets in who has the key; without one, who calls this machine by its own name."""

    def __init__(self, app: ASGIApp, key: str | None, metrics: Metrics, paths: frozenset[str]):
        """Args: what is behind it; the key, or None; where it counts; the paths that it counts apart."""
        self._app, self._key, self._metrics, self._paths = app, key, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request in, or refuses it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status, begun = 500, time.monotonic()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = scope["path"] if scope["path"] in self._paths else "other"
        refusal = self._refusal(Request(scope))
        try:
            await (self._app if refusal is None else refusal.response())(scope, receive, noted)
        finally:
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.monotonic() - begun)

    def _refusal(self, request: Request) -> Refusal | None:
        if self._key is None:
            # A page of elsewhere whose name resolves to this machine would send its own name.
            host = request.url.hostname or ""
            if is_loopback(host):
                return None
            return Refusal(
                403,
                f"the request is for {host[:80]!r}, and a server without a key answers as localhost only: "
                "call it so, or start it with --api-key.",
                code="host",
            )
        if request.url.path in FREE or request.method == "OPTIONS":
            return None
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._key.encode()):
            return None
        return Refusal(
            401,
            "the key is missing or wrong: send 'Authorization: Bearer KEY' with the server's own.",
            None,
            "invalid_api_key",
        )


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, which no other reaches."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


async def body(request: Request, form: type[T], most: int) -> T:
    """The body of a request.

    Raises:
      Refusal: it is no JSON of that form, or larger than ``most`` bytes.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A page of elsewhere may send other kinds without being asked whether it may.
        raise Refusal(415, f"Content-Type = {kind[:80]!r}: send application/json.", code="content_type")
    size, parts = 0, []
    async for part in request.stream():
        size += len(part)
        if size <= most:
            parts.append(part)
        elif size > READ_ON * most:
            break
    if size > most:
        raise Refusal(
            413,
            f"the body has {'more than ' if size > READ_ON * most else ''}{size} bytes, and {most} are the most: "
            "ask for less at once.",
            code="body_too_large",
        )
    try:
        return form.model_validate_json(b"".join(parts))
    except ValidationError as error:
        raise of_body(error) from None
