"""The domain's data on disk: a TFDS builder (array_record files, no TensorFlow), and `load`, which reads it.

Split by family: `train`, `validation` and `test` share no rule, because what is measured is adaptation to a rule that
meta-training has not seen. `pretrain` is about all rules, so no prompt of `validation` or `test` is in it (nor in
`train`), whatever the order of its pairs and queries.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from mass_jax.tasks import store
from mass_jax.tasks.arithmetic import documents
from mass_jax.tasks.arithmetic.rules import Rule, make_rules
from mass_jax.tasks.base import Problem

SPLITS = ("pretrain", "train", "validation", "test")
HELD_OUT = ("validation", "test")
"""Splits whose prompts occur in no other split."""
MOST_PER_FAMILY = 200
"""Problems of a held-out split about one rule, which has some thousands of each difficulty."""


@dataclasses.dataclass(eq=False, kw_only=True)
class ArithmeticConfig(tfds.core.BuilderConfig):
    """What to draw. The name is made of all fields and of a sample of the texts, so that two never share files.

    Attributes:
      rules: families in all; `validation` and `test` take theirs, `train` has the rest.
      rules_seed: decides which rules, and which of them are whose.
      seed: decides every problem.
      validation_families, test_families: how many rules each of these splits is about.
      pretrain_problems, train_problems, validation_problems, test_problems: how many problems each split has, spread
        evenly over its families; only those of a held-out split are all different.

    Raises:
      ValueError: if a split would have no problem or no family, or a held-out split has more problems than its families
        can give.
    """

    name: str = dataclasses.field(init=False, default="")
    rules: int = 200
    rules_seed: int = 0
    seed: int = 0
    validation_families: int = 40
    test_families: int = 40
    pretrain_problems: int = 20_000
    train_problems: int = 4_000
    validation_problems: int = 400
    test_problems: int = 400

    def __post_init__(self) -> None:
        own = store.own_fields(self)
        for name, value in own.items():
            if value < 1 and "seed" not in name:
                raise ValueError(f"task.{name} = {value}: every split needs at least 1; give a positive number.")
        make_rules(self.rules, self.rules_seed)
        if not self.families("train"):
            raise ValueError(
                f"task.rules = {self.rules}: validation ({self.validation_families}) and test ({self.test_families}) "
                "leave no family for train; raise task.rules or lower task.validation_families or task.test_families."
            )
        for split in HELD_OUT:
            problems, families = own[f"{split}_problems"], own[f"{split}_families"]
            most = families * MOST_PER_FAMILY
            if problems > most:
                raise ValueError(
                    f"task.{split}_problems = {problems}: task.{split}_families = {families} give at most {most} "
                    f"different problems ({MOST_PER_FAMILY} each); ask for fewer problems or for more families."
                )
        rng = np.random.default_rng(0)
        texts = [dataclasses.astuple(documents.draw_problem(Rule(1, 2, 3), 0, rng)) for _ in range(20)]
        digest = hashlib.sha256(json.dumps([own, texts], sort_keys=True).encode()).hexdigest()
        self.name = f"rules{self.rules}_seed{self.seed}_{digest[:12]}"

    def families(self, split: str) -> range:
        """The rules that a split is about, as indices into ``make_rules(rules, rules_seed)``."""
        test = self.rules - self.test_families
        validation = test - self.validation_families
        ends = {"pretrain": (0, self.rules), "train": (0, validation), "validation": (validation, test)}
        return range(*ends.get(split, (test, self.rules)))


def draw_splits(config: ArithmeticConfig) -> dict[str, list[Problem]]:
    """Every problem of every split, a function of ``config`` alone. Problem i is about the split's family i mod F."""
    rules = make_rules(config.rules, config.rules_seed)
    held_out: set[str] = set()
    splits = {}
    for split in reversed(SPLITS):  # the held-out splits first: the others give way to them
        rng = np.random.default_rng((config.seed, SPLITS.index(split)))
        families, problems = config.families(split), []
        for i in range(getattr(config, f"{split}_problems")):
            family = families[i % len(families)]
            problem = documents.draw_problem(rules[family], family, rng)
            while documents.canonical(problem.prompt) in held_out:
                problem = documents.draw_problem(rules[family], family, rng)
            if split in HELD_OUT:
                held_out.add(documents.canonical(problem.prompt))
            problems.append(problem)
        splits[split] = problems
    return splits


class MassArithmetic(tfds.core.GeneratorBasedBuilder):
    """Hidden polynomial rules mod 11. Build with ``MassArithmetic(config=ArithmeticConfig(...), data_dir=...)``."""

    VERSION = tfds.core.Version("1.0.0")  # raise it when the same configuration would draw other problems
    RELEASE_NOTES = {"1.0.0": "First release."}
    # Nothing is downloaded. TFDS would look for checksums beside the code, with a package that it does not require.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        # Written as drawn: the first n problems of a split are then spread evenly over its families.
        return store.problem_info(self, "rule")

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        rules = make_rules(self.builder_config.rules, self.builder_config.rules_seed)
        splits = draw_splits(self.builder_config)
        return {split: self._generate_examples(splits[split], rules) for split in SPLITS}

    def _generate_examples(
        self, problems: Sequence[Problem], rules: tuple[Rule, ...]
    ) -> Iterator[tuple[int, dict[str, str | int]]]:
        for i, problem in enumerate(problems):
            yield (
                i,
                {
                    "prompt": problem.prompt,
                    "solution": problem.solution,
                    "rule": rules[problem.family].name,
                    "family": problem.family,
                    "difficulty": problem.difficulty,
                },
            )


def load(config: ArithmeticConfig, split: str, data_dir: str | Path | None = None) -> tuple[Problem, ...]:
    """One split, in the order in which it was drawn; it is written first if it is not there yet.

    Args:
      config: what to draw.
      split: one of `SPLITS`.
      data_dir: where TFDS keeps its data; `store.DATA_DIR` where not given.

    Raises:
      ValueError: if there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}: choose one of {', '.join(SPLITS)}.")
    root = Path(data_dir or store.DATA_DIR).expanduser()
    builder = store.prepared(lambda: MassArithmetic(config=config, data_dir=root, file_format="array_record"))
    return tuple(store.problem(row, documents.facts) for row in store.rows(builder, split))
