"""The declaration of mathematics; see `tasks.domain`."""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mass_jax.errors import said
from mass_jax.fields import CountOrNone, Seed, Text, one_of, other_than
from mass_jax.tasks.base import Domain, Problem
from mass_jax.tasks.domain import DomainConfig, LanguageTokenizer, own_fields
from mass_jax.tasks.mathematics import builder, fetch, prompts
from mass_jax.tasks.mathematics.grading import Grader
from mass_jax.tasks.mathematics.task import MathematicsTask


class Mathematics(DomainConfig):
    """Problems with a final answer: see `builder.MathematicsConfig`; 0 problems are all that there are."""

    collected: ClassVar[bool] = True

    name: Literal["mathematics"]
    dataset: Annotated[Text, one_of(fetch.DATASETS)]
    source: Annotated[Text, Field(min_length=1)]
    held_out: CountOrNone = 0
    test_ids: Text
    validation_problems: CountOrNone
    train_problems: CountOrNone
    test_problems: Annotated[CountOrNone, other_than(1, "an interval needs 2 problems; give 2 or more, or 0 for all")]
    seed: Seed
    prompts: Text
    shots: CountOrNone
    data_dir: Text

    @property
    def title(self) -> str:
        """The data set's name."""
        return self.dataset

    def contradictions(self) -> Iterator[str]:
        """Those of the data, and of the prompts."""
        yield from said(self.data)
        for fault in said(prompts.load, self.prompts or self.dataset):
            yield f"task.prompts = {self.prompts!r}: {fault}"

    def make(self, tokenizer: LanguageTokenizer) -> Domain:
        """A chat where the tokenizer has a template, else worked examples to continue."""
        chats = tokenizer.has_chat_template
        task = MathematicsTask(
            prompts.load(self.prompts or self.dataset),
            Grader(),
            tokenizer.chat if chats else None,
            tokenizer.special_tokens,
            self.shots,
        )
        return Domain(task, tokenizer.for_chats() if chats else tokenizer, task.stops)

    def data(self) -> builder.MathematicsConfig:
        """Which problems; nothing is read or written."""
        return builder.MathematicsConfig(**own_fields(self, builder.MathematicsConfig))

    def load(self, split: str) -> Sequence[Problem]:
        """See `DomainConfig`."""
        if split == "pretrain" or (split == "validation" and not self.validation_problems):
            return ()
        return builder.load(self.data(), split, self.data_dir or None)

    def most(self, split: str) -> int:
        """The first of a shuffled split, which are a sample."""
        return {"train": self.train_problems, "test": self.test_problems}.get(split, 0)
