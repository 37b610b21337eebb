"""The declaration of Countdown; see `tasks.domain`."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from mass_jax.fields import Count
from mass_jax.tasks.base import Domain, Problem
from mass_jax.tasks.countdown import builder, documents
from mass_jax.tasks.countdown.rules import Rule, make_rules, vocabulary
from mass_jax.tasks.countdown.task import CountdownTask
from mass_jax.tasks.domain import own_fields
from mass_jax.tasks.worked import Worked
from mass_jax.types import Tokenizer


class Countdown(Worked):
    """Numbers that are to make a target; the shape of the solution is hidden. ``numbers``: of a hand."""

    name: Literal["countdown"]
    numbers: Count

    def _rules(self) -> tuple[Rule, ...]:
        return make_rules(self.rules, self.rules_seed, self.numbers)

    def vocabulary(self) -> Sequence[str]:
        """Every word of the domain."""
        return vocabulary(self.numbers)

    def make(self, tokenizer: Tokenizer) -> Domain:
        """See `OwnWords`."""
        return Domain(CountdownTask(self._rules()), tokenizer)

    def data(self) -> builder.CountdownConfig:
        """See `Drawn`."""
        return builder.CountdownConfig(**own_fields(self, builder.CountdownConfig))

    def writer(
        self, kinds: Sequence[str], held_out: Sequence[Problem]
    ) -> Callable[[Problem, np.random.Generator], str]:
        """See `Worked`."""
        return documents.document_writer(self._rules(), kinds, held_out)
