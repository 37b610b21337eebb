"""The bodies of requests: OpenAI's fields as far as they mean something here, and what belongs to adaptation."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from mass_jax.fields import MOST
from mass_jax.inference.options import MOST_EXAMPLES, MOST_SETS, MOST_STEPS, Options

Tokens = tuple[int, ...]
OfOpenAI = ConfigDict(extra="forbid", strict=True, frozen=True)


def _greedy(value: float | None) -> float | None:
    if value:
        raise ValueError("answers are greedy: give 0 or leave it out; mass.votes has samples vote")
    return value


def _one(value: int | None) -> int | None:
    if value not in (None, 1):
        raise ValueError("there is one answer: give 1 or leave it out; mass.votes has samples vote")
    return value


def _stops(value: Any) -> Any:
    return () if value is None else (value,) if isinstance(value, str) else value


def _text(value: Any) -> str:
    """The text of a message, which may be in parts."""
    parts = value if isinstance(value, list) else [{"type": "text", "text": value}]
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError("give a text, or a list of parts that are texts")
    return "".join(part["text"] for part in parts)


def _prompts(value: Any) -> tuple[str | Tokens, ...]:
    """One or several prompts, each a text or ids of tokens."""

    def is_ids(given: Any) -> bool:
        return isinstance(given, list) and all(type(each) is int and 0 <= each <= MOST for each in given)

    each = [value] if isinstance(value, str) or (is_ids(value) and value) else value
    if not isinstance(each, list) or not each or not all(isinstance(one, str) or is_ids(one) for one in each):
        raise ValueError("give a text, ids of tokens, or a list of such")
    return tuple(one if isinstance(one, str) else tuple(one) for one in each)


Greedy = Annotated[float | None, AfterValidator(_greedy)]
One = Annotated[int | None, AfterValidator(_one)]
Stops = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_stops), Field(strict=False)]


class Mass(BaseModel):
    """How to adapt; the field ``mass`` of a body. All but the names of `m` and `k` is as in `Options`.

    Attributes:
      m: practice examples.
      k: inner steps.
      seconds: after which nothing more is begun but the answer.
      tokens: the most that may be written or learned from.
      seed: of what is sampled.
      votes: solutions that are sampled, of which one with the most frequent answer is given.
      sets: practice sets that are written.
      least_gain: which an update has to be expected to gain.
      return_practice: tell the practice too.
    """

    model_config = OfOpenAI
    m: int | None = Field(default=None, ge=1, le=MOST_EXAMPLES)
    k: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    seconds: float | None = None
    tokens: int | None = None
    seed: int | None = None
    votes: int = 1
    sets: int | None = Field(default=None, ge=1, le=MOST_SETS)
    least_gain: float | None = None
    return_practice: bool = False

    def options(self, update: bool, seed: int | None) -> Options:
        """Of the request; ``seed`` is OpenAI's own field, which counts where this has none.

        Raises:
          InputError: a number is out of its range.
        """
        chosen = seed if self.seed is None else self.seed
        budget = self.seconds, self.tokens
        return Options(update, chosen or 0, self.votes, self.m, self.k, *budget, self.sets or 1, self.least_gain)


class StreamOptions(BaseModel):
    """Attributes: include_usage: end a stream with the tokens that were used."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    include_usage: bool = False


class Common(BaseModel):
    """What both kinds of requests have. Answers are greedy, so that ``top_p`` and ``user`` change nothing."""

    model_config = OfOpenAI
    model: str
    mass: Mass | None = None
    stop: Stops = ()
    seed: int | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: Greedy = None
    n: One = None
    frequency_penalty: Greedy = None
    presence_penalty: Greedy = None
    top_p: float | None = Field(default=None, gt=0, le=1)
    user: str | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the tokens that were used."""
        return self.stream_options is not None and self.stream_options.include_usage


class Message(BaseModel):
    """Of a chat."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    role: str
    content: Annotated[str, BeforeValidator(_text)]


class Chat(Common):
    """``POST /v1/chat/completions``."""

    messages: list[Message]
    max_tokens: int | None = Field(default=None, ge=1, le=MOST)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST)
    logprobs: Literal[False] | None = None

    @property
    def most(self) -> int | None:
        """The most tokens of the answer."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class Completion(Common):
    """``POST /v1/completions``."""

    prompt: Annotated[tuple[str | Tokens, ...], BeforeValidator(_prompts), Field(strict=False)]
    max_tokens: int | None = Field(default=None, ge=0, le=MOST)
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=5)
    best_of: One = None

    @property
    def most(self) -> int | None:
        """The most tokens of the answer."""
        return self.max_tokens


class Tokenize(BaseModel):
    """``POST /tokenize``."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    prompt: str
    add_special_tokens: bool = True


class Detokenize(BaseModel):
    """``POST /detokenize``."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    tokens: list[Annotated[int, Field(ge=0, le=MOST)]]
