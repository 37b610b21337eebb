"""The declaration of operators; see `tasks.domain`."""

from typing import Literal

from mass_jax.tasks.base import Domain
from mass_jax.tasks.domain import Drawn, LanguageTokenizer, own_fields
from mass_jax.tasks.operators import builder
from mass_jax.tasks.operators.rules import make_rules
from mass_jax.tasks.operators.task import OperatorsTask


class Operators(Drawn):
    """Hidden operations on two one-digit numbers."""

    name: Literal["operators"]

    def make(self, tokenizer: LanguageTokenizer) -> Domain:
        """Lines to continue: a new line ends a completion."""
        return Domain(OperatorsTask(make_rules(self.rules, self.rules_seed)), tokenizer.ending_with("\n"))

    def data(self) -> builder.OperatorsConfig:
        """See `Drawn`."""
        return builder.OperatorsConfig(**own_fields(self, builder.OperatorsConfig))
