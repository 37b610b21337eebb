"""A kind of file whose content says what reading it does to the process."""

import os
import shutil
from pathlib import Path

import numpy as np

from mass_jax.models.pretrained.errors import PretrainedError

BEHAVIOURS = ("accepted", "refused", "accepted wrongly", "raises", "panics", "loops", "aborts", "swallows memory")


class Panic(BaseException):
    pass


def seeds(folder: Path) -> list[Path]:
    for name in BEHAVIOURS:
        (folder / name).write_text("well")
    return [folder / name for name in BEHAVIOURS]


def mutate(source: Path, target: Path, rng: np.random.Generator) -> bool:
    shutil.copy(source, target)
    target.write_text(f"ill {rng.integers(100)}")
    return source.name == "accepted wrongly"


def load(path: Path) -> None:
    if path.read_text() == "well":
        return
    if path.name == "refused":
        raise PretrainedError("a sentence")
    if path.name == "raises":
        raise KeyError("raw")
    if path.name == "panics":
        raise Panic("in Rust")
    if path.name == "loops":
        sum(range(10**12))  # in C: no handler of Python's would run
    if path.name == "aborts":
        os.abort()
    if path.name == "swallows memory":
        np.ones(3 << 24, np.uint8)
