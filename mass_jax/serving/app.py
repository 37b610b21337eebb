"""The application: paths, the door before them, and what becomes of what goes wrong."""

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mass_jax.errors import InputError
from mass_jax.inference.adapter import MassAdapter
from mass_jax.serving.door import LEFT, Door, Limits
from mass_jax.serving.page import page
from mass_jax.serving.refusal import Refusal
from mass_jax.serving.service import Service
from mass_jax.serving.waiting import Left

DEFAULT = Limits()


def application(adapter: MassAdapter, limits: Limits = DEFAULT, key: str | None = None) -> Starlette:
    """A server of one model; ``app.state.service`` is its `Service`.

    Args:
      adapter: the model; its name is the one that clients call it by.
      limits: of requests.
      key: that a client has to have; None where only this machine calls.
    """
    service = Service(adapter, limits)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service.worker.start()
        try:
            yield
        finally:
            service.worker.close()

    routes = [
        Route("/", page),
        Route("/v1/chat/completions", service.chat, methods=["POST"]),
        Route("/v1/completions", service.completions, methods=["POST"]),
        Route("/v1/models", service.models),
        Route("/v1/models/{name:path}", service.model),
        Route("/health", service.health),
        Route("/metrics", service.counts),
        Route("/tokenizer_info", service.tokenizer_info),
        Route("/tokenize", service.tokenize, methods=["POST"]),
        Route("/detokenize", service.detokenize, methods=["POST"]),
    ]
    paths = frozenset(route.path for route in routes)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Door, key=key, metrics=service.metrics, paths=paths)],
        exception_handlers={
            Refusal: _refused,
            InputError: _wrong,
            HTTPException: _unknown,
            Left: _left,
            ClientDisconnect: _left,  # in the midst of its body
            Exception: _failed,
        },
        lifespan=lifespan,
    )
    app.state.service = service
    return app


async def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return refusal.response()


async def _wrong(request: Request, error: Exception) -> Response:
    return Refusal(400, str(error)).response()


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:80]
    allowed = (error.headers or {}).get("Allow", "another method")
    said = {
        404: f"there is no {path} here: docs/serving.md has what there is.",
        405: f"{path} takes no {request.method[:80]}: ask it by {allowed}.",
    }
    response = Refusal(error.status_code, said.get(error.status_code, error.detail)).response()
    response.headers.update(error.headers or {})  # HTTP asks for Allow in a 405
    return response


async def _left(request: Request, left: Exception) -> Response:
    return Response(status_code=LEFT)


async def _failed(request: Request, error: Exception) -> Response:
    return Refusal(500, "the server has failed at this request; its log says why.").response()
