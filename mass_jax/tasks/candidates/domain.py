"""The declaration of candidates; see `tasks.domain`."""

from collections.abc import Sequence
from typing import Literal

from mass_jax.tasks.arithmetic.rules import make_rules, vocabulary
from mass_jax.tasks.base import Domain
from mass_jax.tasks.candidates import builder
from mass_jax.tasks.candidates.task import CandidatesTask
from mass_jax.tasks.domain import own_fields
from mass_jax.tasks.worked import Worked
from mass_jax.types import Tokenizer


class Candidates(Worked):
    """Three rules are named, one of which made the pairs; rules and words are arithmetic's."""

    name: Literal["candidates"]

    def vocabulary(self) -> Sequence[str]:
        """Every word of the domain."""
        return vocabulary(make_rules(self.rules, self.rules_seed))

    def make(self, tokenizer: Tokenizer) -> Domain:
        """See `OwnWords`."""
        rules = make_rules(self.rules, self.rules_seed)
        return Domain(CandidatesTask(rules), tokenizer)

    def data(self) -> builder.CandidatesConfig:
        """See `Drawn`."""
        return builder.CandidatesConfig(**own_fields(self, builder.CandidatesConfig))
