"""The declaration of science; see `tasks.domain`."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mass_jax.fields import Count, CountOrNone, Seed, Several, Text, one_of, other_than
from mass_jax.tasks.base import Domain, Problem
from mass_jax.tasks.domain import DomainConfig, LanguageTokenizer
from mass_jax.tasks.science import data
from mass_jax.tasks.science.prompts import Solved
from mass_jax.tasks.science.task import ScienceTask

DEV_QUESTIONS = 5
"""Of every subject."""


class Science(DomainConfig):
    """Multiple choice of MMLU's 18 STEM subjects, split by subject: training has those that the others leave."""

    collected: ClassVar[bool] = True

    name: Literal["science"]
    source: Annotated[Text, Field(min_length=1)] = "public"
    seed: Seed = 0
    validation_subjects: Count = 3
    test_subjects: Several = 6
    form: Annotated[Text, one_of(("text", "chat"))] = "text"
    answers: Annotated[Text, one_of(("likelihood", "generation"))] = "likelihood"
    shots: CountOrNone = 0
    train_problems: CountOrNone = 0
    validation_problems: CountOrNone = 0
    test_problems: Annotated[
        CountOrNone, other_than(1, "an interval needs 2 problems; give 2 or more, or 0 for all")
    ] = 0

    @property
    def title(self) -> str:
        """The data set's name."""
        return "mmlu_stem"

    def contradictions(self) -> Iterator[str]:
        """Subjects that are left for training, and examples that there are."""
        held, every = self.validation_subjects + self.test_subjects, len(data.SUBJECTS)
        if held >= every:
            yield (
                f"task.validation_subjects = {self.validation_subjects} and task.test_subjects = {self.test_subjects} "
                f"leave none of {every} subjects for training: give at most {every - 1} together."
            )
        if self.shots > DEV_QUESTIONS:
            yield f"task.shots = {self.shots}: MMLU has {DEV_QUESTIONS} dev questions a subject; give so many at most."

    def make(self, tokenizer: LanguageTokenizer) -> Domain:
        """Plain text, as lm-evaluation-harness asks unless it is told otherwise, or a chat.

        Raises:
          ValueError: it is to be a chat, and the model has no template; or there are no examples for prompts.
          ConnectionError: these cannot be fetched.
        """
        chats = self.form == "chat"
        if chats and not tokenizer.has_chat_template:
            raise ValueError("task.form = 'chat': the model has no chat template; give 'text', or a chat model.")
        task = ScienceTask(
            tokenizer.chat if chats else None, tokenizer.special_tokens, self.answers == "likelihood", self._shots()
        )
        return Domain(task, tokenizer.for_chats() if chats else tokenizer, task.stops)

    def _shots(self) -> dict[str, list[Solved]]:
        """The first dev questions of every subject."""
        if not self.shots:
            return {}
        dev = sorted(data.load(self.source, "dev"), key=lambda asked: asked.subject)
        return {
            subject.replace("_", " "): [(each.question, each.letter) for each in some][: self.shots]
            for subject, some in itertools.groupby(dev, key=lambda asked: asked.subject)
        }

    def load(self, split: str) -> Sequence[Problem]:
        """See `DomainConfig`."""
        if split == "pretrain":
            return ()
        subjects = data.split_subjects(self.seed, self.validation_subjects, self.test_subjects)
        found = data.problems(self.source, split, subjects, self.seed)
        return [data.problem(asked, lead="" if self.form == "chat" else " ") for asked in found]

    def most(self, split: str) -> int:
        """The first ones of a split, which are of all its subjects."""
        return {
            "train": self.train_problems,
            "validation": self.validation_problems,
            "test": self.test_problems,
        }.get(split, 0)
