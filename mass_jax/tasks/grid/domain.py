"""The declaration of the grid; see `tasks.domain`."""

from collections.abc import Sequence
from typing import Literal

from mass_jax.tasks.base import Domain
from mass_jax.tasks.domain import own_fields
from mass_jax.tasks.grid import builder
from mass_jax.tasks.grid.rules import make_rules, vocabulary
from mass_jax.tasks.grid.task import GridTask
from mass_jax.tasks.worked import Worked
from mass_jax.types import Tokenizer


class Grid(Worked):
    """Plans on a grid, by keys whose effects are hidden."""

    name: Literal["grid"]

    def vocabulary(self) -> Sequence[str]:
        """Every word of the domain."""
        return vocabulary()

    def make(self, tokenizer: Tokenizer) -> Domain:
        """See `OwnWords`."""
        return Domain(GridTask(make_rules(self.rules, self.rules_seed)), tokenizer)

    def data(self) -> builder.GridConfig:
        """See `Drawn`."""
        return builder.GridConfig(**own_fields(self, builder.GridConfig))
