"""The domain's data on disk: a TFDS builder and what it draws."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from mass_jax.tasks import procedural
from mass_jax.tasks.arithmetic.rules import Rule, make_rules
from mass_jax.tasks.base import Problem
from mass_jax.tasks.candidates import documents
from mass_jax.tasks.worked import Texts, WorkedConfig


class MassCandidates(procedural.ProceduralBuilder):
    """Which of three rules made the pairs. ``MassCandidates(config=CandidatesConfig(...), data_dir=...)`` builds it."""

    VERSION = tfds.core.Version("1.0.0")  # raise it when the same configuration would draw other problems
    RELEASE_NOTES = {"1.0.0": "First release."}


@dataclasses.dataclass(eq=False, kw_only=True)
class CandidatesConfig(WorkedConfig):
    """See `worked.WorkedConfig`. A problem's candidates are all of its own split's families.

    Raises:
      ValueError: as `procedural.ProceduralConfig`, or a split has fewer families than a problem has candidates.
    """

    builder: ClassVar[type[procedural.ProceduralBuilder]] = MassCandidates
    texts: ClassVar[Texts] = documents

    rules: int = 200
    validation_families: int = 40
    test_families: int = 40
    train_problems: int = 4_000
    validation_problems: int = 400
    test_problems: int = 400

    def __post_init__(self) -> None:
        for split in procedural.ProceduralConfig.splits:
            if 0 < (count := len(self.families(split))) < documents.CANDIDATES:
                way_out = f"raise task.{split}_families"
                if split == "train":
                    way_out = "raise task.rules or lower task.validation_families or task.test_families"
                raise ValueError(
                    f"{split} has {count} of task.rules = {self.rules} families, but a problem names "
                    f"{documents.CANDIDATES} of them: {way_out}."
                )
        super().__post_init__()

    def make_rules(self) -> tuple[Rule, ...]:
        """Polynomials mod 11."""
        return make_rules(self.rules, self.rules_seed)

    def draw_problem(self, rules: Sequence[Rule], family: int, rng: np.random.Generator) -> Problem:
        """See `documents.draw_problem`."""
        splits = (self.families(split) for split in procedural.ProceduralConfig.splits)
        others = next(families for families in splits if family in families)
        return documents.draw_problem(rules, family, others, rng)
