"""What the server does at each of its paths."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mass_jax.inference.adapted import Adapted
from mass_jax.inference.adapter import Event, MassAdapter, Watch
from mass_jax.inference.options import Options
from mass_jax.serving import continuation, engine, replies
from mass_jax.serving.bodies import Chat, Completion, Detokenize, Mass, Tokenize, Tokens
from mass_jax.serving.door import Limits, body
from mass_jax.serving.metrics import Metrics
from mass_jax.serving.refusal import Refusal
from mass_jax.serving.replies import Choice
from mass_jax.serving.waiting import LEAST, Clock, Ticket, late, tickets, unless_left
from mass_jax.serving.worker import Asked, Worker

T = TypeVar("T", bound=BaseModel)
Chosen = Callable[[Any, Any], Choice]
"""Of what was asked and what came of it, the answer as it is told."""
BASE = ":base"
"""Behind the model's name: the un-adapted one."""
PULSE = 15.0
"""Seconds of silence after which a stream shows that it lives."""


class Service:
    """One model, served.

    Attributes:
      adapter: it; its name is the one that clients call it by.
      limits: of requests.
      worker: does them.
      metrics: counts them.
    """

    def __init__(self, adapter: MassAdapter, limits: Limits):
        self.adapter, self.limits = adapter, limits
        self.worker = Worker(self._answer, adapter.learner.batch, limits.queue)
        self.metrics = Metrics(lambda: self.worker.waiting, lambda: self.worker.running)
        self._created = int(time.time())

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions``."""
        clock = Clock(self.limits.seconds)
        asked = await self._body(request, Chat)
        update = self._updates(asked.model)
        if len(asked.messages) != 1 or asked.messages[0].role != "user":
            roles = ", ".join(message.role for message in asked.messages[:5]) or "none"
            raise Refusal(
                400,
                f"messages are of {roles[:80]}: a problem stands alone, and nothing else would be read. Give one "
                "message of the user with all that belongs to the problem.",
                "messages",
            )
        options = _options(asked.mass, asked.seed, update)
        row = await run_in_threadpool(engine.asked, self.adapter, asked.messages[0].content, options)
        return await self._reply(request, asked, [row], self._of_problem(asked), clock)

    async def completions(self, request: Request) -> Response:
        """``POST /v1/completions``."""
        clock = Clock(self.limits.seconds)
        asked = await self._body(request, Completion)
        update = self._updates(asked.model)
        if len(asked.prompt) > (1 if asked.stream else self.limits.queue):
            most = "one is streamed" if asked.stream else f"{self.limits.queue} are the most"
            raise Refusal(400, f"there are {len(asked.prompt)} prompts, and {most}: ask for fewer at once.", "prompt")
        scored = asked.logprobs is not None
        if update and (asked.echo or scored):
            raise Refusal(
                400,
                "echo and logprobs are of texts, and this model answers problems after an update for each: ask "
                f"{self.adapter.name}{BASE}.",
                "logprobs" if scored else "echo",
            )
        if not update and asked.mass is not None:
            raise Refusal(400, f"{asked.model} goes on after a text as it is: leave mass out.", "mass")
        rows: list[Asked] = [await run_in_threadpool(self._row, asked, update, prompt) for prompt in asked.prompt]
        chosen = self._of_problem(asked) if update else self._of_text(asked)
        return await self._reply(request, asked, rows, chosen, clock)

    async def models(self, request: Request) -> Response:
        """``GET /v1/models``."""
        names = self.adapter.name, f"{self.adapter.name}{BASE}"
        return _json({"object": "list", "data": [self._model(name) for name in names]})

    async def model(self, request: Request) -> Response:
        """``GET /v1/models/NAME``."""
        self._updates(request.path_params["name"])
        return _json(self._model(request.path_params["name"]))

    async def health(self, request: Request) -> Response:
        """``GET /health``."""
        state = "ok" if self.worker.open else "draining"
        return _json({"status": state}, 200 if self.worker.open else 503)

    async def counts(self, request: Request) -> Response:
        """``GET /metrics``."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def tokenizer_info(self, request: Request) -> Response:
        """``GET /tokenizer_info``: the texts of special tokens, as lm-evaluation-harness asks for them."""
        tokenizer = self.adapter.learner.actor.tokenizer
        texts = (*getattr(tokenizer, "special_tokens", ()), *getattr(tokenizer, "words", ()))

        def text(token: int | None) -> str | None:
            return next((text for text in texts if tokenizer.encode(text) == [token]), None)

        return _json({"eos_token": text(tokenizer.eos_id), "bos_token": text(tokenizer.bos_id), "pad_token": None})

    async def tokenize(self, request: Request) -> Response:
        """``POST /tokenize``: text to ids."""
        asked, tokenizer = await self._body(request, Tokenize), self.adapter.learner.actor.tokenizer
        try:
            ids = await run_in_threadpool(tokenizer.encode, asked.prompt)
        except ValueError as error:
            raise Refusal(400, f"the prompt cannot be read: {error}", "prompt") from None
        first = [tokenizer.bos_id] if asked.add_special_tokens and tokenizer.bos_id is not None else []
        return _json({"tokens": first + ids, "count": len(first + ids)})

    async def detokenize(self, request: Request) -> Response:
        """``POST /detokenize``: ids to text."""
        asked = await self._body(request, Detokenize)
        return _json({"prompt": self._text(tuple(asked.tokens))})

    async def _body(self, request: Request, kind: type[T]) -> T:
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await body(request, kind, self.limits.body_bytes)
        except TimeoutError:
            raise Refusal(
                408, f"the body did not arrive within {self.limits.seconds:g} seconds: send it again."
            ) from None

    def _updates(self, model: str) -> bool:
        """Whether it is the adapted one."""
        name = self.adapter.name
        if model not in (name, f"{name}{BASE}"):
            raise Refusal(
                404, f"model = {model[:80]!r} is not here: ask for {name} or {name}{BASE}.", "model", "model_not_found"
            )
        return model == name

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "mass_jax"}

    def _row(self, asked: Completion, update: bool, prompt: str | Tokens) -> Asked:
        if not update:
            return continuation.asked(self.adapter.learner.actor, prompt, asked.max_tokens, asked.logprobs is not None)
        text = prompt if isinstance(prompt, str) else self._text(prompt)
        return engine.asked(self.adapter, text, _options(asked.mass, asked.seed, update))

    def _text(self, ids: Tokens) -> str:
        tokenizer = self.adapter.learner.actor.tokenizer
        if max(ids, default=0) >= tokenizer.vocab_size:
            raise Refusal(400, f"there is no token {max(ids)}: give ids from 0 to {tokenizer.vocab_size - 1}.")
        return tokenizer.decode(ids)

    def _answer(self, rows: Sequence[Any], watch: Watch) -> Sequence[Any]:
        """What the worker's thread does with a batch."""

        def told(event: Event) -> None:
            self.metrics.told(event)
            watch(event)

        self.metrics.begun(len(rows))
        results = engine.answer(self.adapter, rows, told)
        self.metrics.done(results)
        return results

    def _of_problem(self, asked: Chat | Completion) -> Chosen:
        actor = self.adapter.learner.actor
        most = min(asked.most or actor.method.lengths.solution, actor.method.lengths.solution)
        practice = asked.mass is not None and asked.mass.return_practice

        def chosen(row: engine.Adapt, adapted: Adapted) -> Choice:
            told = adapted.as_json()
            if not practice:
                del told["practice"]
            return replies.of_problem(actor.tokenizer, row.read, adapted.answer, most, asked.stop)._replace(mass=told)

        return chosen

    def _of_text(self, asked: Completion) -> Chosen:
        tokenizer, shown = self.adapter.learner.actor.tokenizer, (asked.echo, asked.logprobs)
        return lambda row, found: replies.of_text(tokenizer, row, found, asked.stop, shown)

    async def _reply(
        self, request: Request, asked: Chat | Completion, rows: Sequence[Asked], chosen: Chosen, clock: Clock
    ) -> Response:
        """What came of the rows; of a stream as soon as the first of it is there."""
        form = replies.form(isinstance(asked, Chat), asked.model)
        async with contextlib.AsyncExitStack() as stack:
            waiting = await stack.enter_async_context(tickets(self.worker, rows))
            try:
                if not asked.stream:
                    results = await unless_left(request, _all(waiting), clock)
                    return _json(form.whole([chosen(*pair) for pair in zip(rows, results, strict=True)]))
                first = await unless_left(request, waiting[0].next(), clock)
            except TimeoutError:
                raise late(self.limits.seconds) from None
            told = _told(waiting[0], first, clock)
            kept = stack.pop_all()
        return Events(self._pieces(asked, form, told, lambda result: chosen(rows[0], result)), kept)

    async def _pieces(
        self,
        asked: Chat | Completion,
        form: replies.Form,
        told: AsyncIterator[Any],
        chosen: Callable[[Any], Choice],
    ) -> AsyncIterator[str]:
        practice = asked.mass is not None and asked.mass.return_practice
        try:
            async for each in told:
                if each is None:
                    yield ": still at work\n\n"
                elif isinstance(each, Event):
                    yield _line(form.phase(each, practice))
                else:
                    for piece in form.pieces(chosen(each), asked.include_usage):
                        yield _line(piece)
        except TimeoutError:
            yield _line(late(self.limits.seconds).as_json())
        except Refusal as refusal:
            yield _line(refusal.as_json())
        else:
            yield "data: [DONE]\n\n"


class Events(StreamingResponse):
    """Server-sent events; when they end, or whoever hears them leaves, what is kept for them is let go."""

    def __init__(self, pieces: AsyncIterator[str], kept: contextlib.AsyncExitStack):
        super().__init__(pieces, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends them."""
        async with self._kept:
            await super().__call__(scope, receive, send)


async def _all(waiting: Sequence[Ticket]) -> list[Any]:
    return [await ticket.result() for ticket in waiting]


async def _told(ticket: Ticket, first: Any, clock: Clock) -> AsyncIterator[Any]:
    """What is told of a job, its result last; None after a while of silence.

    Raises:
      TimeoutError: the time is over.
    """
    told = first
    while isinstance(told, Event):
        yield told
        following = asyncio.ensure_future(ticket.next())
        try:
            while not following.done():
                if (left := clock.left) <= 0:
                    raise TimeoutError
                done, _ = await asyncio.wait([following], timeout=min(PULSE, max(left, LEAST)))
                if not done:
                    yield None
            told = following.result()
        finally:
            following.cancel()
    yield told


OF_UPDATES = ("m", "k", "seconds", "tokens", "sets", "least_gain")
"""Fields of ``mass`` that mean nothing where there is none."""


def _options(mass: Mass | None, seed: int | None, update: bool) -> Options:
    given = mass or Mass()
    for_updates = {name for name in OF_UPDATES if getattr(given, name) is not None}
    if not update and for_updates:
        raise Refusal(
            400, f"mass.{min(for_updates)} is of an update, and {BASE} answers without one: leave it out.", "mass"
        )
    return given.options(update, seed)


def _json(content: Any, status: int = 200) -> Response:
    return Response(replies.dumps(content), status, media_type="application/json")


def _line(content: Any) -> str:
    return f"data: {replies.dumps(content)}\n\n"
