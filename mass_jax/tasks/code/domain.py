"""The declaration of code; see `tasks.domain`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mass_jax.fields import Count, CountOrNone, Text, one_of, other_than
from mass_jax.tasks.base import Domain, Problem
from mass_jax.tasks.code import data
from mass_jax.tasks.code.runner import Runner
from mass_jax.tasks.code.task import CodeTask
from mass_jax.tasks.domain import DomainConfig, LanguageTokenizer
from mass_jax.tasks.download import download
from mass_jax.tasks.sandbox.jail import Limits

EXECUTE = ("never", "jailed", "anyhow")
FOLDER = Path("~/.cache/mass_jax/code")
"""Where MBPP is kept."""


class Code(DomainConfig):
    """Programs that are run: MBPP for training, and for testing MBPP's own test split or HumanEval."""

    collected: ClassVar[bool] = True

    name: Literal["code"]
    execute: Annotated[Text, one_of(EXECUTE)] = "never"
    seconds: Count = 5
    source: Annotated[Text, Field(min_length=1)] = "public"
    test: Annotated[Text, Field(min_length=1)] = "mbpp"
    train_problems: CountOrNone = 0
    validation_problems: CountOrNone = 0
    test_problems: Annotated[
        CountOrNone, other_than(1, "an interval needs 2 problems; give 2 or more, or 0 for all")
    ] = 0

    @property
    def title(self) -> str:
        """The data sets' names."""
        return "mbpp" if self.test == "mbpp" else "mbpp, tested on human_eval"

    def contradictions(self) -> Iterator[str]:
        """Programs are run only where the config says so."""
        if self.execute == "never":
            yield (
                "task.execute = 'never': the domain 'code' runs what models write. Give 'jailed' to allow it in the "
                "sandbox, or 'anyhow' also where this system has no sandbox (docs/code.md)."
            )

    def make(self, tokenizer: LanguageTokenizer) -> Domain:
        """A chat where the tokenizer has a template, else worked examples to continue."""
        chats = tokenizer.has_chat_template
        runner = Runner(limits=Limits(seconds=self.seconds), anyhow=self.execute == "anyhow")
        task = CodeTask(runner, tokenizer.chat if chats else None, tokenizer.special_tokens)
        return Domain(task, tokenizer.for_chats() if chats else tokenizer, task.stops)

    def load(self, split: str) -> Sequence[Problem]:
        """See `DomainConfig`."""
        if split == "pretrain":
            return ()
        if split == "test" and self.test != "mbpp":
            return data.human_eval(data.human_eval_file(self.test))
        path = download(data.MBPP, FOLDER.expanduser()) if self.source == "public" else Path(self.source).expanduser()
        return data.mbpp(path / "mbpp.jsonl" if path.is_dir() else path, split)

    def most(self, split: str) -> int:
        """The first ones of a split."""
        return {
            "train": self.train_problems,
            "validation": self.validation_problems,
            "test": self.test_problems,
        }.get(split, 0)
