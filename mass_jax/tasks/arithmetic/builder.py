"""The domain's data on disk: a TFDS builder (array_record files, no TensorFlow) and what it draws."""

import dataclasses
from typing import ClassVar

import tensorflow_datasets as tfds

from mass_jax.tasks import procedural
from mass_jax.tasks.arithmetic import documents
from mass_jax.tasks.arithmetic.rules import Rule, make_rules
from mass_jax.tasks.worked import Texts, WorkedConfig


class MassArithmetic(procedural.ProceduralBuilder):
    """Hidden polynomial rules mod 11. Build with ``MassArithmetic(config=ArithmeticConfig(...), data_dir=...)``."""

    VERSION = tfds.core.Version("1.0.0")  # raise it when the same configuration would draw other problems
    RELEASE_NOTES = {"1.0.0": "First release."}


@dataclasses.dataclass(eq=False, kw_only=True)
class ArithmeticConfig(WorkedConfig):
    """See `worked.WorkedConfig`."""

    builder: ClassVar[type[procedural.ProceduralBuilder]] = MassArithmetic
    texts: ClassVar[Texts] = documents
    draw_problem = staticmethod(documents.draw_problem)

    rules: int = 200
    validation_families: int = 40
    test_families: int = 40
    train_problems: int = 4_000
    validation_problems: int = 400
    test_problems: int = 400

    def make_rules(self) -> tuple[Rule, ...]:
        """Polynomials mod 11."""
        return make_rules(self.rules, self.rules_seed)
