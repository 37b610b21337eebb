"""TFDS builders on disk, without TensorFlow: written once, by whichever process is first, and read back whole."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mass_jax.tasks.base import Problem

DATA_DIR = Path("~/.cache/mass_jax/tfds")
"""Where data lies unless a caller says otherwise."""

Facts = Callable[[str], tuple[str, ...]]
"""Reads from a prompt what it states to be true."""

# Every configuration here is a custom one; TFDS would warn of that whenever it is opened.
logging.getLogger("absl").addFilter(lambda record: not str(record.msg).startswith("Using custom data configuration"))


def prepared(open_builder: Callable[[], tfds.core.DatasetBuilder]) -> tfds.core.DatasetBuilder:
    """The builder with its data on disk; they are written first if they are not there yet.

    TFDS writes into a folder of another name and renames it when all is there, so a killed writer leaves nothing that
    would be read, and of two writers the first one wins.

    Args:
      open_builder: opens the builder; called twice, since a builder knows only what it found when it was opened.

    Raises:
      ValueError: they cannot be written there.
    """
    builder = open_builder()
    if builder.data_path.exists():
        return builder
    tfds.disable_progress_bar()  # a few seconds of work do not need five nested bars
    try:
        builder.download_and_prepare()
    except OSError as error:  # the rename fails where another process was faster
        if not builder.data_path.exists():
            raise ValueError(
                f"the problems cannot be written to '{builder.data_path}' ({error.strerror or error}): set "
                "task.data_dir to a folder that you may write and that has room."
            ) from error
    return open_builder()


def rows(builder: tfds.core.DatasetBuilder, split: str) -> list[dict[str, Any]]:
    """All rows of a split, in the order in which they were written.

    Raises:
      ValueError: if there is no such split.
    """
    if split not in builder.info.splits:
        raise ValueError(f"there is no split {split!r}: choose one of {', '.join(builder.info.splits)}.")
    source = builder.as_data_source(split=split)
    return list(source.__getitems__(range(len(source))))  # one read for all: row by row takes half as long again


def own_fields(config: tfds.core.BuilderConfig) -> dict[str, Any]:
    """The fields that a configuration adds to TFDS's own, of which its name is made."""
    inherited = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in inherited}


def problem_info(builder: tfds.core.DatasetBuilder, text: str, **more: Any) -> tfds.core.DatasetInfo:
    """What a data set of problems holds: the fields of a `Problem`, and one ``text`` of its own.

    Rows stay in the order in which they are written: it is the builder that decides what the first n of a split are.
    """
    texts = {name: tfds.features.Text() for name in ("prompt", "solution", text)}
    return builder.dataset_info_from_configs(
        features=tfds.features.FeaturesDict({**texts, "family": np.int32, "difficulty": np.int32}),
        supervised_keys=("prompt", "solution"),
        disable_shuffling=True,
        **more,
    )


def problem(row: dict[str, Any], facts: Facts = lambda prompt: ()) -> Problem:
    """A row as a problem; ``facts`` reads them from its prompt."""
    prompt = row["prompt"].decode()
    return Problem(prompt, row["solution"].decode(), facts(prompt), int(row["difficulty"]), int(row["family"]))
