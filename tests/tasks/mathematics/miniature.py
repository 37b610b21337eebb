"""Miniature folders of every format, in the words of this test."""

import json
from pathlib import Path

from mass_jax.tasks.mathematics.fetch import SUBJECTS

NAMES = "Ada Bo Cy Di Ed Flo Gus Hal Ivy Jo Kim Lou Max Ned Ola Pat".split()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def lines(records) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def gsm8k_records(first: int, count: int) -> list[dict]:
    return [
        {
            "question": f"{NAMES[i % 16]} has {i} cups and buys {i + 2} more. How many cups?",
            "answer": f"Bought are {i}+2=<<{i}+2={i + 2}>>{i + 2}.\n"
            f"In all {i}+{i + 2}=<<{i}+{i + 2}={2 * i + 2}>>{2 * i + 2}.\n#### {2 * i + 2}",
        }
        for i in range(first, first + count)
    ]


def gsm8k(folder: Path, train: int = 8, test: int = 3) -> Path:
    write(folder / "train.jsonl", lines(gsm8k_records(0, train)))
    write(folder / "test.jsonl", lines(gsm8k_records(1000, test)))
    return folder


def math_record(subject: str, i: int, split: str = "train") -> dict:
    return {
        "problem": f"In {split} {subject}, what is ${i} + {i + 1}$?",
        "level": f"Level {1 + i % 5}" if i else "Level ?",
        "type": subject.replace("_", " ").title().replace("And", "&"),
        "solution": f"We add: ${i}+{i + 1}=\\boxed{{{2 * i + 1}}}$.",
    }


def math(folder: Path, train: int = 2, test: int = 2) -> Path:
    for split, count in (("train", train), ("test", test)):
        for subject in SUBJECTS:
            for i in range(count):
                write(folder / split / subject / f"{i}.json", json.dumps(math_record(subject, i, split)))
    return folder


def svamp_records(first: int, count: int) -> list[dict]:
    return [
        {
            "ID": f"chal-{i}",
            "Body": f"{NAMES[i % 16]} had {i + 9} figs and ate {i} of them",
            "Question": "How many figs are left?",
            "Equation": f"( {i + 9}.0 - {i}.0 )",
            "Answer": 9.0,
            "Type": "Subtraction",
        }
        for i in range(first, first + count)
    ]


def svamp(folder: Path, train: int = 4, test: int = 2) -> Path:
    write(folder / "train.json", json.dumps(svamp_records(0, train)))
    write(folder / "test.json", json.dumps(svamp_records(50, test)))
    return folder
