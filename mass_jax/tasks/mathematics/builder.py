"""The data on disk: a TFDS builder (array_record files, no TensorFlow) for every data set, and `load`, which reads it.

Splits: ``train`` without what overlaps with the test (see `tasks/contamination.py`; counted, logged and stored),
``validation`` drawn from it where asked for, and ``test``. All of them are shuffled, so that the first n problems of a
split are a sample.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from mass_jax.tasks import contamination, overlap, store
from mass_jax.tasks.base import Problem
from mass_jax.tasks.mathematics import datasets, fetch
from mass_jax.tasks.mathematics.datasets import Row

COUNTS = {
    "gsm8k": {"train": 7473, "test": 1319},
    "math": {"train": 7500, "test": 5000},
    "svamp": {"train": 700, "test": 300},
}
"""Problems that the published data sets have."""


@dataclasses.dataclass(eq=False, kw_only=True)
class MathematicsConfig(tfds.core.BuilderConfig):
    """Which problems. The name is made of all fields, and of the files where they are the user's own.

    Attributes:
      dataset: ``gsm8k``, ``math``, ``svamp`` or ``jsonl``.
      source: ``public`` (the address where it was published), ``hub`` (parquet files through huggingface_hub), or a
        folder; see `fetch.local`.
      test_ids: which problems of MATH's test split to keep: ``hub`` for MATH-500, a file of ids (see
        `datasets.read_ids`), or an empty string for all.
      validation_problems: how many training problems become the validation split.
      held_out: where the source is one file (``jsonl``): how many of its problems become the test split. The others are
        for training; with 0 all are the test's.
      seed: decides order and validation split.

    Raises:
      ValueError: if a field has no meaning.
    """

    name: str = dataclasses.field(init=False, default="")
    dataset: str = "gsm8k"
    source: str = "public"
    test_ids: str = ""
    validation_problems: int = 0
    held_out: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dataset not in fetch.DATASETS:
            known = ", ".join(fetch.DATASETS)
            raise ValueError(f"task.dataset = {self.dataset!r}: there is no such data set; choose one of {known}.")
        if self.test_ids and self.dataset != "math":
            raise ValueError(
                f"task.test_ids = {self.test_ids!r}: only math's test split is chosen by ids; leave it empty."
            )
        for name in ("validation_problems", "held_out", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"task.{name} = {getattr(self, name)}: give 0 or more.")
        if self.held_out and not (self.dataset == "jsonl" and Path(self.source).expanduser().is_file()):
            raise ValueError(
                f"task.held_out = {self.held_out}: only one file of problems is split by it (task.dataset = 'jsonl', "
                "task.source its path); leave it 0."
            )
        own = store.own_fields(self)
        if not self.held_out:  # as the data were named before there was this field
            del own["held_out"]
        own["files"] = [
            _fingerprint(each) for each in (self.source, self.test_ids) if each not in ("", "public", "hub")
        ]
        digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
        self.name = f"{self.dataset}_{digest[:12]}"


def _fingerprint(path: str) -> list[tuple[str, int, int]]:
    """What changes when any of the files at ``path`` does."""
    root = Path(path).expanduser()
    paths = sorted(root.rglob("*")) if root.is_dir() else [root]
    stats = [(each, each.stat()) for each in paths if each.is_file()]
    return [(str(each.relative_to(root)), stat.st_size, stat.st_mtime_ns) for each, stat in stats]


def read_splits(config: MathematicsConfig, downloads: Path) -> tuple[dict[str, list[Row]], dict[str, int]]:
    """Every problem of every split, and the counts that the data set's metadata keep.

    Raises:
      ValueError: if the data are not what they should be; see `fetch.files`, `datasets.read`.
      ConnectionError: if they cannot be fetched.
    """
    try:
        raw = _read(config, downloads)
    except ValueError as error:
        if config.source != "public":
            raise
        logging.warning("%s Its downloads are fetched anew.", error)
        fetch.forget(config.dataset, downloads)
        raw = _read(config, downloads)
    test = _chosen(raw["test"], config.test_ids) if config.test_ids else raw["test"]
    train, report = contamination.clean(raw["train"], test)
    if len(train) < len(raw["train"]):
        logging.warning(
            "%s: %d of %d training problems are left out (%d repeated, %d in the test split, %d overlapping with it).",
            config.dataset,
            len(raw["train"]) - len(train),
            len(raw["train"]),
            report.train_repeated,
            report.train_in_test,
            report.train_overlapping,
        )
    if raw["train"] and not train:
        raise ValueError(f"every one of the {len(raw['train'])} training problems is in the test split: give others.")
    if config.validation_problems and config.validation_problems >= len(train):
        raise ValueError(
            f"task.validation_problems = {config.validation_problems}: the training split has {len(train)} problems "
            "and must keep at least 1; ask for fewer."
        )
    rng = np.random.default_rng(config.seed)
    train, test = ([rows[i] for i in rng.permutation(len(rows))] for rows in (train, test))
    count = config.validation_problems
    splits = {"train": train[count:], "validation": train[:count], "test": test}
    metadata = {"train_read": len(raw["train"]), "test_read": len(raw["test"]), **dataclasses.asdict(report)}
    return {split: rows for split, rows in splits.items() if rows}, metadata


def _read(config: MathematicsConfig, downloads: Path) -> dict[str, list[Row]]:
    """The problems of both splits as the source has them; one file is split."""
    found = fetch.files(config.dataset, config.source, downloads)
    raw = {split: datasets.read(config.dataset, found.get(split, ())) for split in fetch.SPLITS}
    if config.source in ("public", "hub"):
        counts = {split: len(rows) for split, rows in raw.items()}
        if counts != COUNTS[config.dataset]:
            raise ValueError(
                f"the {config.source} source of {config.dataset} has {counts} problems instead of "
                f"{COUNTS[config.dataset]}: it has changed; give a folder with the data as the source."
            )
    if config.held_out:
        rows = raw["test"]
        if config.held_out >= len(rows):
            raise ValueError(
                f"task.held_out = {config.held_out}: {config.source} has {len(rows)} problems, of which at least 1 is "
                "for training; hold out fewer."
            )
        order = np.random.default_rng(config.seed).permutation(len(rows))
        test, train = np.split(order, [config.held_out])
        raw = {"train": [rows[i] for i in sorted(train)], "test": [rows[i] for i in sorted(test)]}
    return raw


def _chosen(rows: Sequence[Row], test_ids: str) -> list[Row]:
    """The rows that a file of ids names, found by id, or by their text where the data have no ids."""
    path = fetch.from_hub(*fetch.MATH_500) if test_ids == "hub" else Path(test_ids).expanduser()
    wanted = datasets.read_ids(path)
    by_id = {row.id: row for row in rows if row.id}
    by_text = {tuple(overlap.words(row.prompt)): row for row in rows}
    chosen = [by_id.get(name) or by_text.get(tuple(overlap.words(text))) for name, text in wanted]
    if missing := [name for (name, _), row in zip(wanted, chosen, strict=True) if row is None]:
        raise ValueError(
            f"task.test_ids = {test_ids!r}: {len(missing)} of its {len(wanted)} problems, {missing[0]!r} first, are "
            "not in the test split; use the data set that the ids belong to."
        )
    return [row for row in chosen if row is not None]


class MassMathematics(tfds.core.GeneratorBasedBuilder):
    """Problems with a final answer. Build with ``MassMathematics(config=MathematicsConfig(...), data_dir=...)``."""

    VERSION = tfds.core.Version("1.0.0")  # raise it when the same files would give other problems
    RELEASE_NOTES = {"1.0.0": "First release."}
    # Downloads are checked in `fetch.py`. TFDS would look for checksums with a package that it does not require.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        return store.problem_info(self, "id", metadata=tfds.core.MetadataDict())

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        splits, metadata = read_splits(self.builder_config, Path(self._data_dir_root) / "downloads")
        self.info.metadata.update(metadata)
        names = sorted({row.family for rows in splits.values() for row in rows} - {""})
        families = fetch.SUBJECTS if self.builder_config.dataset == "math" else names
        return {split: self._generate_examples(rows, families) for split, rows in splits.items()}

    def _generate_examples(
        self, rows: Sequence[Row], families: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, str | int]]]:
        for i, row in enumerate(rows):
            family = families.index(row.family) if row.family else i
            yield i, {**dataclasses.asdict(row), "family": family}


def _prepared(config: MathematicsConfig, data_dir: str | Path | None) -> tfds.core.DatasetBuilder:
    root = Path(data_dir or store.DATA_DIR).expanduser()
    return store.prepared(lambda: MassMathematics(config=config, data_dir=root, file_format="array_record"))


def load(config: MathematicsConfig, split: str, data_dir: str | Path | None = None) -> tuple[Problem, ...]:
    """One split, shuffled; the data are fetched and written first if they are not there yet.

    Args:
      config: which problems.
      split: ``train``, ``validation`` or ``test``.
      data_dir: where TFDS keeps its data, and downloads lie; `store.DATA_DIR` where not given.

    Raises:
      ValueError: if there is no such split, or the data are not what they should be.
      ConnectionError: if they cannot be fetched.
    """
    one_file = config.dataset == "jsonl" and Path(config.source).expanduser().is_file()
    if split == "train" and one_file and not config.held_out:
        raise ValueError(
            f"task.source = {config.source!r} is one file, all of it the test split: set task.held_out to how many of "
            "its problems the test shall have, or give a folder with train.jsonl and test.jsonl."
        )
    return tuple(map(store.problem, store.rows(_prepared(config, data_dir), split)))


def metadata(config: MathematicsConfig, data_dir: str | Path | None = None) -> dict[str, int]:
    """How many problems were read and, by reason, removed from the training split; see `contamination.Report`."""
    return dict(_prepared(config, data_dir).info.metadata)
