"""Domains that are drawn, not collected: families split between training and test, and one TFDS builder for all.

Split by family: `train`, `validation` and `test` share no rule, because what is measured is adaptation to a rule that
meta-training has not seen. No prompt of `validation` or `test` occurs in another split, in whatever order it states
its facts.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import tensorflow_datasets as tfds

from mass_jax.tasks import store
from mass_jax.tasks.base import Problem

HELD_OUT = ("validation", "test")
"""Splits whose prompts occur in no other split."""


class NamedRule(Protocol):
    """What makes a family."""

    @property
    def name(self) -> str:
        """Tells it from all others."""


@dataclasses.dataclass(eq=False, kw_only=True)
class ProceduralConfig(tfds.core.BuilderConfig):
    """What to draw. The name is made of all fields and of a sample of the texts, so that two never share files.

    A domain adds how its rules and problems are drawn.

    Attributes:
      rules: families in all; `validation` and `test` take theirs, `train` has the rest.
      rules_seed: decides which rules, and which of them are whose.
      seed: decides every problem.
      validation_families, test_families: how many rules each of these splits is about.
      train_problems, validation_problems, test_problems: how many problems each split has, spread evenly over its
        families; only those of a held-out split are all different.

    Raises:
      ValueError: if a split would have no problem or no family, or a held-out split has more problems than its families
        can give.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")
    most_per_family: ClassVar[int]
    """Problems of a held-out split about one rule, far fewer than there are."""
    builder: ClassVar[type["ProceduralBuilder"]]
    """Writes the problems, into a folder of its own name."""

    name: str = dataclasses.field(init=False, default="")
    rules: int
    rules_seed: int = 0
    seed: int = 0
    validation_families: int
    test_families: int
    train_problems: int
    validation_problems: int
    test_problems: int

    def __post_init__(self) -> None:
        own = store.own_fields(self)
        for name, value in own.items():
            if value < 1 and "seed" not in name and not isinstance(value, bool):
                raise ValueError(f"task.{name} = {value}: every split needs at least 1; give a positive number.")
        rules = self.make_rules()
        if not self.families("train"):
            raise ValueError(
                f"task.rules = {self.rules}: validation ({self.validation_families}) and test ({self.test_families}) "
                "leave no family for train; raise task.rules or lower task.validation_families or task.test_families."
            )
        for split in HELD_OUT:
            problems, families = own[f"{split}_problems"], own[f"{split}_families"]
            most = families * self.most_per_family
            if problems > most:
                raise ValueError(
                    f"task.{split}_problems = {problems}: task.{split}_families = {families} give at most {most} "
                    f"different problems ({self.most_per_family} each); ask for fewer problems or for more families."
                )
        rng = np.random.default_rng(0)
        texts = [dataclasses.astuple(self.draw_problem(rules, 0, rng)) for _ in range(20)]
        digest = hashlib.sha256(json.dumps([own, texts], sort_keys=True).encode()).hexdigest()
        self.name = f"rules{self.rules}_seed{self.seed}_{digest[:12]}"

    def families(self, split: str) -> range:
        """The rules that a split is about, as indices into `make_rules`; splits beside the three are about all."""
        test = self.rules - self.test_families
        validation = test - self.validation_families
        ends = {"train": (0, validation), "validation": (validation, test), "test": (test, self.rules)}
        return range(*ends.get(split, (0, self.rules)))

    def make_rules(self) -> Sequence[NamedRule]:
        """The rule of every family."""
        raise NotImplementedError

    def draw_problem(self, rules: Sequence[Any], family: int, rng: np.random.Generator) -> Problem:
        """A random problem about ``rules[family]``."""
        raise NotImplementedError

    def canonical(self, prompt: str) -> str:
        """The same for all prompts of the same content."""
        raise NotImplementedError

    def facts(self, prompt: str) -> tuple[str, ...]:
        """What a prompt states to be true."""
        raise NotImplementedError


def draw_splits(config: ProceduralConfig) -> dict[str, list[Problem]]:
    """Every problem of every split, a function of ``config`` alone. Problem i is about the split's family i mod F."""
    rules = config.make_rules()
    held_out: set[str] = set()
    drawn = {}
    for split in reversed(config.splits):  # the held-out splits first: the others give way to them
        rng = np.random.default_rng((config.seed, config.splits.index(split)))
        families, problems = config.families(split), []
        for i in range(getattr(config, f"{split}_problems")):
            family = families[i % len(families)]
            problem = config.draw_problem(rules, family, rng)
            while config.canonical(problem.prompt) in held_out:
                problem = config.draw_problem(rules, family, rng)
            if split in HELD_OUT:
                held_out.add(config.canonical(problem.prompt))
            problems.append(problem)
        drawn[split] = problems
    return drawn


class ProceduralBuilder(tfds.core.GeneratorBasedBuilder):
    """Writes what `draw_splits` draws, as array_record files. A domain gives it a name and a version."""

    # Nothing is downloaded. TFDS would look for checksums beside the code, with a package that it does not require.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        # Written as drawn: the first n problems of a split are then spread evenly over its families.
        return store.problem_info(self, "rule")

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        rules = self.builder_config.make_rules()
        return {
            split: self._generate_examples(problems, rules)
            for split, problems in draw_splits(self.builder_config).items()
        }

    def _generate_examples(
        self, problems: Sequence[Problem], rules: Sequence[NamedRule]
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


def load(config: ProceduralConfig, split: str, data_dir: str | Path | None = None) -> tuple[Problem, ...]:
    """One split, in the order in which it was drawn; it is written first if it is not there yet.

    Args:
      config: what to draw.
      split: one of ``config.splits``.
      data_dir: where TFDS keeps its data; `store.DATA_DIR` where not given.

    Raises:
      ValueError: if there is no such split.
    """
    if split not in config.splits:
        raise ValueError(f"there is no split {split!r}: choose one of {', '.join(config.splits)}.")
    root = Path(data_dir or store.DATA_DIR).expanduser()
    prepared = store.prepared(lambda: config.builder(config=config, data_dir=root, file_format="array_record"))
    return tuple(store.problem(row, config.facts) for row in store.rows(prepared, split))
