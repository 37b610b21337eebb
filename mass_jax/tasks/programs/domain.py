"""The declaration of programs; see `tasks.domain`."""

from collections.abc import Sequence
from typing import Literal

from mass_jax.tasks.base import Domain
from mass_jax.tasks.domain import Documents, Splits, own_fields
from mass_jax.tasks.programs import builder, documents
from mass_jax.tasks.programs.rules import make_rules, vocabulary
from mass_jax.tasks.programs.task import ProgramsTask
from mass_jax.tasks.worked import Worked
from mass_jax.types import Tokenizer


class Programs(Worked):
    """Hidden programs of two operations on strings."""

    name: Literal["programs"]

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
