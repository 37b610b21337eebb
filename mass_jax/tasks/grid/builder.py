"""The domain's data on disk: a TFDS builder and what it draws."""

import dataclasses
from typing import ClassVar

import tensorflow_datasets as tfds

from mass_jax.tasks import procedural
from mass_jax.tasks.grid import documents
from mass_jax.tasks.grid.rules import Rule, make_rules
from mass_jax.tasks.worked import Texts, WorkedConfig


class MassGrid(procedural.ProceduralBuilder):
    """Plans on a grid. Build with ``MassGrid(config=GridConfig(...), data_dir=...)``."""

    VERSION = tfds.core.Version("1.0.0")  # raise it when the same configuration would draw other problems
    RELEASE_NOTES = {"1.0.0": "First release."}


@dataclasses.dataclass(eq=False, kw_only=True)
class GridConfig(WorkedConfig):
    """See `worked.WorkedConfig`."""

    builder: ClassVar[type[procedural.ProceduralBuilder]] = MassGrid
    texts: ClassVar[Texts] = documents
    draw_problem = staticmethod(documents.draw_problem)

    rules: int = 300
    validation_families: int = 60
    test_families: int = 100
    train_problems: int = 4_000
    validation_problems: int = 240
    test_problems: int = 400

    def make_rules(self) -> tuple[Rule, ...]:
        """Effects of keys."""
        return make_rules(self.rules, self.rules_seed)
