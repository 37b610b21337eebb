"""Answers in OpenAI's form, whole and in pieces, with what was adapted beside them."""

import json
import math
import time
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from mass_jax.inference.adapter import Event
from mass_jax.serving.continuation import Continue, Continued, piece
from mass_jax.types import Tokenizer

PRACTICE = ("practice", "weights", "left_out")
"""What is told of practice, and only to those who ask for it."""


class Choice(NamedTuple):
    """One answer.

    Attributes:
      text: it.
      finish: ``stop``, or ``length`` where it was cut.
      read: tokens of the prompt.
      written: tokens of the answer.
      logprobs: in OpenAI's form, or None.
      mass: what was adapted, or None.
    """

    text: str
    finish: str
    read: int
    written: int
    logprobs: dict[str, Any] | None = None
    mass: dict[str, Any] | None = None


class Form(NamedTuple):
    """The reply to one request.

    Attributes:
      chat: of a chat; else of a completion.
      model: as it was asked for.
      id: of the reply.
      created: seconds since 1970.
    """

    chat: bool
    model: str
    id: str
    created: int

    def whole(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """All at once."""
        mass = next((choice.mass for choice in choices if choice.mass is not None), None)
        body = self._head("chat.completion" if self.chat else "text_completion")
        body["choices"] = [self._choice(i, choice) for i, choice in enumerate(choices)]
        body["usage"] = usage(choices)
        return body | ({} if mass is None else {"mass": mass if len(choices) == 1 else [c.mass for c in choices]})

    def phase(self, event: Event, practice: bool) -> dict[str, Any]:
        """A piece without text, which says that a phase began, is at work or has ended."""
        state = "done" if event.shown is not None else "at work" if event.written else "begun"
        told: dict[str, Any] = {"phase": event.phase, "state": state}
        if event.written and practice:
            told["written"] = list(event.written[0])
        if event.shown is not None:
            shown = {k: v for k, v in event.shown[0].items() if practice or k not in PRACTICE}
            told |= {"seconds": round(event.seconds, 4), "tokens": sum(event.tokens)} | shown
        return self._piece("", None) | {"mass": told}

    def pieces(self, choice: Choice, include_usage: bool) -> list[dict[str, Any]]:
        """The answer, its end, and the tokens that were used where these are asked for."""
        last = self._piece("", choice.finish) | ({} if choice.mass is None else {"mass": choice.mass})
        found = [self._piece(choice.text, None, choice.logprobs), last]
        if include_usage:
            found.append(self._piece("", None) | {"choices": [], "usage": usage([choice])})
        return found

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        text = {"message": {"role": "assistant", "content": choice.text}} if self.chat else {"text": choice.text}
        return {"index": index, **text, "logprobs": choice.logprobs, "finish_reason": choice.finish}

    def _piece(self, text: str, finish: str | None, logprobs: Any = None) -> dict[str, Any]:
        delta = {"role": "assistant", "content": text} if text else {}
        part: dict[str, Any] = {"delta": delta} if self.chat else {"text": text}
        choice = {"index": 0, **part, "logprobs": logprobs, "finish_reason": finish}
        return self._head("chat.completion.chunk" if self.chat else "text_completion") | {"choices": [choice]}


def form(chat: bool, model: str) -> Form:
    """Of a new reply."""
    return Form(chat, model, f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}", int(time.time()))


def usage(choices: Sequence[Choice]) -> dict[str, int]:
    """Tokens that were read and written, without those of practice."""
    read, written = (sum(counts) for counts in zip(*((c.read, c.written) for c in choices), strict=True))
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of some strings."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=None)]


def of_problem(tokenizer: Tokenizer, read: int, answer: str, most: int, stops: Sequence[str]) -> Choice:
    """The answer to a problem.

    Args:
      tokenizer: the model's.
      read: tokens of the prompt.
      answer: by the model.
      most: tokens of the answer, which is cut there.
      stops: strings that end it.
    """
    ids = tokenizer.encode(answer)
    text = answer if len(ids) <= most else tokenizer.decode(ids[:most])
    stopped = cut(text, stops)
    finish = "stop" if stopped != text or len(ids) < most else "length"
    return Choice(stopped, finish, read, min(len(ids), most))


def of_text(
    tokenizer: Tokenizer, row: Continue, found: Continued, stops: Sequence[str], shown: tuple[bool, int | None]
) -> Choice:
    """How the model went on after a text.

    Args:
      tokenizer: its own.
      row: the text.
      found: what came of it.
      stops: strings that end the continuation.
      shown: whether the text comes first, and how many of the likeliest tokens are told; None for no logprobs.
    """
    echo, top = shown
    ids, start = row.ids + found.ids, len(row.ids)
    tokens = [piece(tokenizer, ids[i - 1] if i else None, ids[i]) for i in range(len(ids))]
    written = "".join(tokens[start:])
    stopped = cut(written, stops)
    kept = start
    while kept < len(ids) and len("".join(tokens[start:kept])) < len(stopped):
        kept += 1
    kept = len(ids) if stopped == written else kept
    first = 0 if echo else start
    text = "".join(tokens[first:start]) + stopped
    ended = found.ended or stopped != written
    told = None if top is None else _logprobs(tokenizer, ids, tokens, found, (first, kept, top))
    return Choice(text, "stop" if ended else "length", start, kept - start, told)


def _logprobs(
    tokenizer: Tokenizer, ids: Sequence[int], tokens: list[str], found: Continued, place: tuple[int, int, int]
) -> dict[str, Any]:
    first, end, count = place
    offsets, likeliest = [0], list[dict[str, float] | None]()
    for i in range(first, end):
        offsets.append(offsets[-1] + len(tokens[i]))
        chosen = found.log_probs[i]
        if chosen is None:
            likeliest.append(None)
            continue
        # Of tokens that look the same the likelier one stands.
        row = [(piece(tokenizer, ids[i - 1], token), value) for token, value in found.top[i][:count]]
        likeliest.append(dict(reversed([*row, (tokens[i], chosen)])))
    return {
        "tokens": tokens[first:end],
        "token_logprobs": list(found.log_probs[first:end]),
        "top_logprobs": likeliest,
        "text_offset": offsets[:-1],
    }


def dumps(body: Any) -> str:
    """JSON on one line; a number that JSON cannot hold is null."""
    return json.dumps(_finite(body), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _finite(body: Any) -> Any:
    if isinstance(body, dict):
        return {key: _finite(value) for key, value in body.items()}
    if isinstance(body, list | tuple):
        return [_finite(value) for value in body]
    return None if isinstance(body, float) and not math.isfinite(body) else body
