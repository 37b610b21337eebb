"""The declaration of programs; see `tasks.domain`."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from mass_jax.fields import Count
from mass_jax.tasks.base import Domain
from mass_jax.tasks.domain import Documents, Drawn, Kinds, OwnWords, Splits, own_fields
from mass_jax.tasks.programs import builder, documents
from mass_jax.tasks.programs.rules import make_rules, vocabulary
from mass_jax.tasks.programs.task import ProgramsTask
from mass_jax.types import Tokenizer


class Programs(Drawn, OwnWords):
    """Hidden programs of two operations on strings."""

    kinds: ClassVar[Kinds] = Kinds(short=("solve", "table"), long=("synthesise",), replay=("solve", "table"))

    name: Literal["programs"]
    pretrain_problems: Count

    def vocabulary(self) -> Sequence[str]:
        """Every word of the domain."""
        return vocabulary()

    def make(self, tokenizer: Tokenizer) -> Domain:
        """See `OwnWords`."""
        return Domain(ProgramsTask(make_rules(self.rules, self.rules_seed)), tokenizer)

    def data(self) -> builder.ProgramsConfig:
        """See `Drawn`."""
        return builder.ProgramsConfig(**own_fields(self, builder.ProgramsConfig))

    def documents(self, domain: Domain, splits: Splits, kinds: Sequence[str]) -> Documents:
        """Drawn anew around problems of all programs; none poses a problem of the validation or the test split."""
        rules, held_out = make_rules(self.rules, self.rules_seed), (*splits.validation, *splits.test)
        return Documents(splits.pretrain, documents.document_writer(rules, kinds, held_out))
