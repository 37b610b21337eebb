"""The declaration of arithmetic; see `tasks.domain`."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from mass_jax.fields import Count
from mass_jax.tasks.arithmetic import builder, documents
from mass_jax.tasks.arithmetic.rules import make_rules, vocabulary
from mass_jax.tasks.arithmetic.task import ArithmeticTask
from mass_jax.tasks.base import Domain
from mass_jax.tasks.domain import Documents, Drawn, Kinds, OwnWords, Splits, own_fields
from mass_jax.types import Tokenizer


class Arithmetic(Drawn, OwnWords):
    """Hidden polynomial rules mod 11."""

    kinds: ClassVar[Kinds] = Kinds(short=("solve", "table"), long=("synthesise",), replay=("solve", "table"))

    name: Literal["arithmetic"]
    pretrain_problems: Count

    def vocabulary(self) -> Sequence[str]:
        """Every word of the domain."""
        return vocabulary(make_rules(self.rules, self.rules_seed))

    def make(self, tokenizer: Tokenizer) -> Domain:
        """See `OwnWords`."""
        return Domain(ArithmeticTask(make_rules(self.rules, self.rules_seed)), tokenizer)

    def data(self) -> builder.ArithmeticConfig:
        """See `Drawn`."""
        return builder.ArithmeticConfig(**own_fields(self, builder.ArithmeticConfig))

    def documents(self, domain: Domain, splits: Splits, kinds: Sequence[str]) -> Documents:
        """Drawn anew around problems of all rules; none poses a problem of the validation or the test split."""
        rules = make_rules(self.rules, self.rules_seed)
        held_out = (*splits.validation, *splits.test)
        return Documents(splits.pretrain, documents.document_writer(rules, kinds, held_out))
