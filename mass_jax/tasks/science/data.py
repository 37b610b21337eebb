"""MMLU's STEM subjects (Hendrycks et al., 2021, https://arxiv.org/abs/2009.03300): questions with four choices.

A subject is a family. Training, validation and test have subjects of their own, which a seed draws; all of them have
MMLU's test questions. Its five dev questions of every subject are examples for prompts and nothing else.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from mass_jax.tasks import contamination, rows
from mass_jax.tasks.base import Problem
from mass_jax.tasks.download import Address, download
from mass_jax.tasks.science.form import LETTERS, Question

SUBJECTS = (
    "abstract_algebra",
    "astronomy",
    "college_biology",
    "college_chemistry",
    "college_computer_science",
    "college_mathematics",
    "college_physics",
    "computer_security",
    "conceptual_physics",
    "electrical_engineering",
    "elementary_mathematics",
    "high_school_biology",
    "high_school_chemistry",
    "high_school_computer_science",
    "high_school_mathematics",
    "high_school_physics",
    "high_school_statistics",
    "machine_learning",
)
"""As lm-evaluation-harness' group of MMLU's STEM subjects, without anatomy."""
FOLDER = Path("~/.cache/mass_jax/science")
"""Where the public files are kept."""
_HUB = "https://huggingface.co/datasets/cais/mmlu/resolve/main/all"
PUBLIC = {split: Address(f"{_HUB}/{split}-00000-of-00001.parquet") for split in ("test", "dev")}
COUNTS = {"test": 3018, "dev": 90}
"""Questions that the published files have of these subjects."""


class Asked(NamedTuple):
    """A question with its answer.

    Attributes:
      question: the question.
      letter: of the right choice.
      subject: one of `SUBJECTS`.
    """

    question: Question
    letter: str
    subject: str


def split_subjects(seed: int, validation: int, test: int) -> dict[str, tuple[str, ...]]:
    """The subjects of each split, all different.

    Args:
      seed: decides which.
      validation: how many are for validation.
      test: how many are for testing; the others are for training.
    """
    order = [SUBJECTS[i] for i in np.random.default_rng(seed).permutation(len(SUBJECTS))]
    held = validation + test
    return {"test": tuple(order[:test]), "validation": tuple(order[test:held]), "train": tuple(order[held:])}


def load(source: str, split: str) -> list[Asked]:
    """The questions of `SUBJECTS` in MMLU's split ``test`` or ``dev``, in the order of the file; others are left out.

    Args:
      source: ``public``, a folder with files such as test.jsonl and dev.parquet, or one file: the test questions.
      split: of MMLU.

    Raises:
      ValueError: there is no such file, or it cannot be read, or has no question of these subjects.
      ConnectionError: it cannot be fetched.
    """
    path = download(PUBLIC[split], FOLDER.expanduser()) if source == "public" else _local(source, split)
    found = [asked for place, row in rows.records(path) if (asked := _asked(f"{place} of {path}", row))]
    if source == "public" and len(found) != COUNTS[split]:
        raise ValueError(
            f"{PUBLIC[split].url} has {len(found)} questions of the STEM subjects instead of {COUNTS[split]}: it has "
            "changed; give a folder with the data as task.source."
        )
    if not found:
        raise ValueError(f"{path} has no question of MMLU's STEM subjects, such as {SUBJECTS[1]}: give MMLU's file.")
    return found


def problems(source: str, split: str, subjects: Mapping[str, Sequence[str]], seed: int) -> list[Asked]:
    """The questions of a split: those of its subjects in turn, so that the first ones are of all of them.

    What training repeats of validation or test, or validation of test, is left out; see `contamination`.

    Args:
      source: see `load`.
      split: one of `subjects`.
      subjects: see `split_subjects`.
      seed: of the order of each subject's questions.

    Raises: as `load`.
    """
    every, held = load(source, "test"), list[_Posed]()
    for each in ("test", "validation", "train"):
        some = [_Posed(asked.question.body, asked) for asked in in_turn(every, subjects[each], seed)]
        if held:
            read = len(some)
            some, report = contamination.clean(some, held)
            if each == split and len(some) < read:
                logging.warning("%s: %d of %d problems are left out: %s", split, read - len(some), read, report)
        if each == split:
            return [posed.asked for posed in some]
        held += some
    raise ValueError(f"there is no split {split!r}: choose one of {', '.join(subjects)}.")


def in_turn(every: Sequence[Asked], subjects: Sequence[str], seed: int) -> list[Asked]:
    """The first question of each subject, then the second of each, and so on; each subject's are shuffled."""
    rng = np.random.default_rng(seed)
    own = [[asked for asked in every if asked.subject == subject] for subject in sorted(subjects)]
    shuffled = [[row[i] for i in rng.permutation(len(row))] for row in own]
    return [asked for turn in itertools.zip_longest(*shuffled) for asked in turn if asked is not None]


def problem(asked: Asked, lead: str) -> Problem:
    """A question as a problem; ``lead`` stands before the letter of its solution."""
    return Problem(asked.question.whole, lead + asked.letter, (), 0, SUBJECTS.index(asked.subject))


class _Posed(NamedTuple):
    """A question as `contamination` compares it: without its subject."""

    prompt: str
    asked: Asked


def _local(source: str, split: str) -> Path:
    path = Path(source).expanduser()
    if path.is_dir():
        names = [f"{split}{ending}" for ending in (".jsonl", ".parquet", "-00000-of-00001.parquet")]
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} has none of {', '.join(names)}: give the folder of MMLU's files.")
        return found[0]
    if split == "dev":
        raise ValueError(
            f"task.source = {source!r} is no folder: examples for prompts are MMLU's dev questions; give a folder with "
            "dev.jsonl beside test.jsonl, or task.shots = 0."
        )
    return path


def _asked(place: str, row: Any) -> Asked | None:
    """A row with ``question``, ``choices``, ``answer`` and ``subject`` or ``type``; None of another subject."""

    def wrong(what: str) -> ValueError:
        return ValueError(f"{place} {what}: it is not of MMLU's form.")

    if not isinstance(row, Mapping):
        raise wrong("is not an object with fields")
    subject, text = row.get("subject") or row.get("type"), row.get("question")
    choices, answer = row.get("choices"), row.get("answer")
    if not isinstance(subject, str) or not isinstance(text, str) or not text.strip():
        raise wrong("has no question and subject that are text")
    if (subject := subject.strip().replace(" ", "_")) not in SUBJECTS:
        return None
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS) or not all(_texts(choices)):
        raise wrong(f"has no list of 2 to {len(LETTERS)} choices that are text")
    if isinstance(answer, str) and len(answer) == 1:
        answer = LETTERS.find(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise wrong(f"has the answer {row.get('answer')!r}, which is none of its {len(choices)} choices")
    return Asked(Question(text.strip(), tuple(choices), subject.replace("_", " ")), LETTERS[answer], subject)


def _texts(choices: Sequence[Any]) -> Iterator[bool]:
    return (isinstance(each, str) and bool(each.strip()) for each in choices)
