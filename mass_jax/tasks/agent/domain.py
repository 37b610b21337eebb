"""The declaration of the agent's episodes; see `tasks.domain`."""

from collections.abc import Sequence
from typing import Literal

from mass_jax.tasks.agent import builder
from mass_jax.tasks.agent.rules import make_rules, vocabulary
from mass_jax.tasks.agent.task import AgentTask
from mass_jax.tasks.base import Domain
from mass_jax.tasks.domain import own_fields
from mass_jax.tasks.worked import Worked
from mass_jax.types import Tokenizer


class Agent(Worked):
    """Episodes with tools, files and a calculator; what is to be done with them is hidden."""

    name: Literal["agent"]

    def vocabulary(self) -> Sequence[str]:
        """Every word of the domain."""
        return vocabulary()

    def make(self, tokenizer: Tokenizer) -> Domain:
        """See `OwnWords`."""
        return Domain(AgentTask(make_rules(self.rules, self.rules_seed)), tokenizer)

    def data(self) -> builder.AgentConfig:
        """See `Drawn`."""
        return builder.AgentConfig(**own_fields(self, builder.AgentConfig))
