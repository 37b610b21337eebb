"""The domain's data on disk: a TFDS builder and what it draws."""

import dataclasses
from typing import ClassVar

import tensorflow_datasets as tfds

from mass_jax.tasks import procedural
from mass_jax.tasks.agent import documents
from mass_jax.tasks.agent.rules import Rule, make_rules
from mass_jax.tasks.worked import Texts, WorkedConfig


class MassAgent(procedural.ProceduralBuilder):
    """Episodes with tools. Build with ``MassAgent(config=AgentConfig(...), data_dir=...)``."""

    VERSION = tfds.core.Version("1.0.0")  # raise it when the same configuration would draw other problems
    RELEASE_NOTES = {"1.0.0": "First release."}


@dataclasses.dataclass(eq=False, kw_only=True)
class AgentConfig(WorkedConfig):
    """See `worked.WorkedConfig`."""

    builder: ClassVar[type[procedural.ProceduralBuilder]] = MassAgent
    texts: ClassVar[Texts] = documents
    draw_problem = staticmethod(documents.draw_problem)

    rules: int = 144
    validation_families: int = 24
    test_families: int = 40
    train_problems: int = 4_000
    validation_problems: int = 240
    test_problems: int = 400

    def make_rules(self) -> tuple[Rule, ...]:
        """Recipes."""
        return make_rules(self.rules, self.rules_seed)
