"""The declaration of Countdown; see `tasks.domain`."""

from collections.abc import Sequence
from typing import Literal

from mass_jax.fields import Count
from mass_jax.tasks.base import Domain
from mass_jax.tasks.countdown import builder
from mass_jax.tasks.countdown.rules import make_rules, vocabulary
from mass_jax.tasks.countdown.task import CountdownTask
from mass_jax.tasks.domain import own_fields
from mass_jax.tasks.worked import Worked
from mass_jax.types import Tokenizer


class Countdown(Worked):
    """Numbers that are to make a target; the shape of the solution is hidden. ``numbers``: of a hand."""

    name: Literal["countdown"]
    numbers: Count

    def vocabulary(self) -> Sequence[str]:
        """Every word of the domain."""
        return vocabulary(self.numbers)

    def make(self, tokenizer: Tokenizer) -> Domain:
        """See `OwnWords`."""
        return Domain(CountdownTask(make_rules(self.rules, self.rules_seed, self.numbers)), tokenizer)

    def data(self) -> builder.CountdownConfig:
        """See `Drawn`."""
        return builder.CountdownConfig(**own_fields(self, builder.CountdownConfig))
