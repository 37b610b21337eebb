"""An actor: a model, how it is used, and the domain that it works on. It writes practice, adapts, and answers."""

import dataclasses
from typing import Any

import jax

from mass_jax.mass.method import Method
from mass_jax.tasks.base import Domain, Task
from mass_jax.types import Params, Tokenizer


@dataclasses.dataclass(frozen=True)
class Actor:
    """Everything of a model that stays while it works.

    A pytree whose leaves are the parameters: a compiled function takes an actor as one argument and finds its method
    static. The domain is the host's, for it is about text: inside of a compiled function it is None, so that programs
    do not depend on it.

    Attributes:
      params: theta; generator and solver are one model.
      method: how it writes, adapts and answers.
      domain: task, tokenizer and stops.
    """

    params: Params
    method: Method
    domain: Domain = None  # type: ignore[assignment]

    @property
    def task(self) -> Task:
        """The domain's."""
        return self.domain.task

    @property
    def tokenizer(self) -> Tokenizer:
        """The domain's."""
        return self.domain.tokenizer

    def replace(self, **changes: Any) -> "Actor":
        """The same actor but for the fields given."""
        return dataclasses.replace(self, **changes)


jax.tree_util.register_pytree_with_keys(
    Actor,
    lambda actor: (((jax.tree_util.GetAttrKey("params"), actor.params),), actor.method),
    lambda method, leaves: Actor(next(iter(leaves)), method),
)
