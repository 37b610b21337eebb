"""What a domain declares: a class whose fields are those of ``config.task``, and whose methods make all else of them.

The rest of the package asks the declaration and knows no domain by name; see `registry.py`.
"""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from pydantic import BaseModel

from mass_jax.errors import said
from mass_jax.fields import FROZEN, Count, Seed, Several, Text
from mass_jax.tasks import procedural
from mass_jax.tasks.base import Domain, Problem
from mass_jax.types import Tokenizer


class Splits(NamedTuple):
    """The problems of every split."""

    pretrain: Sequence[Problem]
    train: Sequence[Problem]
    validation: Sequence[Problem]
    test: Sequence[Problem]


class Documents(NamedTuple):
    """What documents are about, and what writes one: ``write(problem, rng)``."""

    problems: Sequence[Problem]
    write: Callable[[Problem, np.random.Generator], str]


class Kinds(NamedTuple):
    """Kinds of documents, by what they are read for.

    Attributes:
      short: in short sequences of pretraining: the first, and of each other one ``pretrain.tables`` times as many.
      long: in long sequences of pretraining.
      replay: in meta-training, to hold the solver; where words are the domain's own, of the short ones. One that writes
        practice would pin the generator.
    """

    short: tuple[str, ...] = ("solve",)
    long: tuple[str, ...] = ("solve",)
    replay: tuple[str, ...] = ("solve",)


class LanguageTokenizer(Tokenizer, Protocol):
    """The tokenizer of a pretrained model."""

    special_tokens: tuple[str, ...]

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` can be called."""

    def chat(self, messages: list[dict[str, str]]) -> str:
        """Messages, each with a ``role`` and a ``content``, as the model was taught to read them."""

    def for_chats(self) -> Tokenizer:
        """The same tokenizer for texts that `chat` makes."""

    def ending_with(self, text: str) -> Tokenizer:
        """The same tokenizer for completions that end with ``text``."""


class DomainConfig(BaseModel, abc.ABC):
    """``config.task`` of one domain. A class that can be registered says its own name: ``name: Literal["poems"]``."""

    model_config = FROZEN
    kinds: ClassVar[Kinds] = Kinds()
    collected: ClassVar[bool] = False
    """Its problems are people's: those that ``config.lengths`` do not allow are left out, where drawn ones must fit."""

    name: str

    @property
    def title(self) -> str:
        """What sentences call its problems' source."""
        return self.name

    def contradictions(self) -> Iterator[str]:
        """A sentence for everything in which sound fields contradict each other."""
        return iter(())

    @abc.abstractmethod
    def make(self, tokenizer: LanguageTokenizer) -> Domain:
        """The task, and how a model with this tokenizer reads and writes it."""

    @abc.abstractmethod
    def load(self, split: str) -> Sequence[Problem]:
        """The problems of one of `Splits`, written to disk first if they are not there yet; none of one it has not.

        Raises:
          ValueError: they cannot be had.
          ConnectionError: they cannot be fetched.
        """

    def most(self, split: str) -> int:
        """Where problems are ``collected``: at most so many of a split are used; 0 is for all."""
        return 0

    def documents(self, domain: Domain, splits: Splits, kinds: Sequence[str]) -> Documents:
        """Of the kinds given; by default training problems with their reference solutions."""
        return Documents(splits.train, lambda problem, rng: domain.task.solve_prompt(problem.prompt) + problem.solution)


class OwnWords(DomainConfig):
    """A domain with a vocabulary of its own, for a model that is pretrained here; others are for pretrained models."""

    @abc.abstractmethod
    def vocabulary(self) -> Sequence[str]:
        """Every word."""

    @abc.abstractmethod
    def make(self, tokenizer: Tokenizer) -> Domain:
        """The task, for a model with the tokenizer of `vocabulary`."""

    def documents(self, domain: Domain, splits: Splits, kinds: Sequence[str]) -> Documents:
        """As by default; words are separated by spaces."""
        return Documents(splits.train, lambda p, rng: f"{domain.task.solve_prompt(p.prompt)} {p.solution}")


class Drawn(DomainConfig):
    """A domain whose problems are drawn from families (`procedural.ProceduralConfig`). Intervals are over families."""

    rules: Count
    rules_seed: Seed
    seed: Seed
    validation_families: Several
    test_families: Several
    train_problems: Count
    validation_problems: Several
    test_problems: Several
    data_dir: Text

    @abc.abstractmethod
    def data(self) -> procedural.ProceduralConfig:
        """Which problems; nothing is read or written."""

    def load(self, split: str) -> Sequence[Problem]:
        """See `DomainConfig`."""
        data = self.data()
        return procedural.load(data, split, self.data_dir or None) if split in data.splits else ()

    def contradictions(self) -> Iterator[str]:
        """Those of the data."""
        return said(self.data)


def own_fields(config: DomainConfig, kind: type[Any]) -> Mapping[str, Any]:
    """The fields that a data set's configuration shares with ``config.task``."""
    return {name: value for name, value in config if name != "name" and name in kind.__dataclass_fields__}
