"""The domain's data on disk: a TFDS builder and what it draws."""

import dataclasses
from typing import ClassVar

import tensorflow_datasets as tfds

from mass_jax.tasks import procedural
from mass_jax.tasks.countdown import documents
from mass_jax.tasks.countdown.rules import Rule, make_rules
from mass_jax.tasks.worked import Texts, WorkedConfig


class MassCountdown(procedural.ProceduralBuilder):
    """Countdown. Build with ``MassCountdown(config=CountdownConfig(...), data_dir=...)``."""

    VERSION = tfds.core.Version("1.0.0")  # raise it when the same configuration would draw other problems
    RELEASE_NOTES = {"1.0.0": "First release."}


@dataclasses.dataclass(eq=False, kw_only=True)
class CountdownConfig(WorkedConfig):
    """See `worked.WorkedConfig`.

    Attributes:
      numbers: of a hand; a solution has one step fewer.

    Raises:
      ValueError: as `procedural.ProceduralConfig` and `rules.make_rules`.
    """

    builder: ClassVar[type[procedural.ProceduralBuilder]] = MassCountdown
    texts: ClassVar[Texts] = documents
    most_per_family: ClassVar[int] = 10  # a shape has `rules.LEAST` at least, and other shapes share them
    draw_problem = staticmethod(documents.draw_problem)

    numbers: int = 3
    rules: int = 48
    validation_families: int = 8
    test_families: int = 14
    train_problems: int = 4_000
    validation_problems: int = 80
    test_problems: int = 140

    def make_rules(self) -> tuple[Rule, ...]:
        """Shapes."""
        return make_rules(self.rules, self.rules_seed, self.numbers)
