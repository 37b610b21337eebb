"""The declaration of arithmetic; see `tasks.domain`."""

from collections.abc import Sequence
from typing import Literal

from mass_jax.tasks.arithmetic import builder
from mass_jax.tasks.arithmetic.rules import make_rules, vocabulary
from mass_jax.tasks.arithmetic.task import ArithmeticTask
from mass_jax.tasks.base import Domain
from mass_jax.tasks.domain import own_fields
from mass_jax.tasks.worked import Worked
from mass_jax.types import Tokenizer


class Arithmetic(Worked):
    """Hidden polynomial rules mod 11."""

    name: Literal["arithmetic"]

    def vocabulary(self) -> Sequence[str]:
        """Every word of the domain."""
        return vocabulary(make_rules(self.rules, self.rules_seed))

    def make(self, tokenizer: Tokenizer) -> Domain:
        """See `OwnWords`."""
        return Domain(ArithmeticTask(make_rules(self.rules, self.rules_seed)), tokenizer)

    def data(self) -> builder.ArithmeticConfig:
        """See `Drawn`."""
        return builder.ArithmeticConfig(**own_fields(self, builder.ArithmeticConfig))
