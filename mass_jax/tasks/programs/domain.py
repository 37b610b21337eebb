"""The declaration of programs; see `tasks.domain`."""

from collections.abc import Sequence
from typing import Literal

from mass_jax.tasks.base import Domain
from mass_jax.tasks.domain import own_fields
from mass_jax.tasks.programs import builder
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
