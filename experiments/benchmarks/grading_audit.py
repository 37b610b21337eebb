r"""What a grader of mathematical answers gets wrong: every reference answer, paraphrased and made wrong in many ways.

    python -m experiments.benchmarks.grading_audit --data=folder --workdir=runs/grading_audit
    python -m experiments.benchmarks.grading_audit --data=folder --workdir=runs/mine --grader=my_module:grade

A grader is a function from a list of (reference, completion) to a list of bool; without ``--grader`` it is this
project's. A folder holds the published files, ``gsm8k*.jsonl``, ``math*.jsonl`` and ``svamp*.json``. A false negative
is a completion of `paraphrases.RIGHT` that is refused, a false positive one of `paraphrases.WRONG` that is accepted.
For each way ``<workdir>/grading_audit.json`` has how many were tried and failed, and some that failed.
"""

import importlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.benchmarks import paraphrases
from experiments.benchmarks.kept import keep, writable
from mass_jax.errors import InputError
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.progress import Progress
from mass_jax.runtime.workdir import write_atomically
from mass_jax.tasks.mathematics import answers, datasets
from mass_jax.tasks.mathematics.grading import Grader

Pair = tuple[str, str]
Judge = Callable[[Sequence[Pair]], Sequence[bool]]
RESULTS = "grading_audit.json"
EXAMPLES = 20
"""Failures that are written, of each way."""
_BATCH = 200
_FORMATS = ("gsm8k", "math", "svamp")


def references(path: Path) -> list[str]:
    """The final answers of a published file, each once, in its order.

    Raises:
      InputError: if it cannot be read.
    """
    try:
        dataset = next(name for name in _FORMATS if path.name.lower().startswith(name))
        return list(dict.fromkeys(answers.final_answer(row.solution) for row in datasets.read(dataset, [path])))
    except ValueError as error:
        raise InputError(f"--data: {error}") from None


def cases(references: Sequence[str]) -> Iterator[tuple[str, str, Pair]]:
    """Every completion of every reference: ``right`` or ``wrong``, the name of the way, and the pair."""
    for reference in references:
        answer = paraphrases.classify(reference)
        for side, ways in (("right", paraphrases.RIGHT), ("wrong", paraphrases.WRONG)):
            for name, way in ways.items():
                if completion := way(answer):
                    yield side, name, (reference, completion)


def audit(references: Sequence[str], judge: Judge, label: str = "audit") -> dict[str, dict[str, Any]]:
    """Counts and failures of every way that applies, by ``right`` and ``wrong`` and by name."""
    rows = list(cases(references))
    found: dict[str, dict[str, Any]] = {"right": {}, "wrong": {}}
    with Progress(len(rows), label=label) as progress:
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            for (side, name, pair), accepted in zip(batch, judge([pair for *_, pair in batch]), strict=True):
                row = found[side].setdefault(name, {"tried": 0, "failed": 0, "examples": []})
                row["tried"] += 1
                if bool(accepted) != (side == "right"):
                    row["failed"] += 1
                    row["examples"] += [pair] if len(row["examples"]) < EXAMPLES else []
            progress.update(start + len(batch))
    return found


def totals(found: dict[str, dict[str, Any]]) -> dict[str, int]:
    """How many right completions were tried and refused, and how many wrong ones tried and accepted."""
    return {
        f"{side}_{count}": sum(row[count] for row in found[side].values())
        for side in ("right", "wrong")
        for count in ("tried", "failed")
    }


def table(results: dict[str, Any]) -> Table:
    """One row a file, then one for each way that failed."""
    cells = []
    for name, found in results.items():
        sums = totals(found)
        cells.append((name, *(f"{sums[f'{side}_failed']} of {sums[f'{side}_tried']}" for side in ("right", "wrong"))))
        for side in ("right", "wrong"):
            for way, row in found[side].items():
                if row["failed"]:
                    count = f"{row['failed']} of {row['tried']}"
                    cells.append((f"{name}: {way}", count if side == "right" else "", count if side == "wrong" else ""))
    return Table(("References", "Right ones refused", "Wrong ones accepted"), "lrr", cells)


def named_judge(name: str) -> Judge:
    """The function that ``module:function`` names.

    Raises:
      InputError: if there is none.
    """
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"--grader={name}: {error}. Give module:function, and the folder in PYTHONPATH.") from None


def own_judge(grader: Grader) -> Judge:
    """This project's grader, from completion to verdict."""
    return lambda pairs: [
        verdict.correct for verdict in grader.grade_many([(ref, answers.final_answer(text)) for ref, text in pairs])
    ]


def run(folder: Path, workdir: Path, judge: Judge, files: Sequence[str] = (), limit: int = 0, seed: int = 0) -> dict:
    """Audits every file of a folder, writes the counts and examples, and returns the latter.

    Raises:
      InputError: if the folder has no such file, or one cannot be read.
    """
    found = sorted(file for file in folder.glob("*.json*") if file.name.lower().startswith(_FORMATS))
    if files:
        found = [file for file in found if file.stem in files]
    if not found:
        wanted = f" of the name {' or '.join(files)}" if files else ""
        raise InputError(
            f"--data={folder} has no gsm8k*.jsonl, math*.jsonl or svamp*.json{wanted}: give such a folder."
        )
    writable(workdir)
    results: dict[str, Any] = {}
    for file in found:
        known = references(file)
        chosen = random.Random(seed).sample(known, min(limit or len(known), len(known)))
        results[file.stem] = audit(chosen, judge, file.stem)
    content = {"totals": {name: totals(each) for name, each in results.items()}, "ways": results}
    write_atomically(workdir / RESULTS, json.dumps(content, indent=2, ensure_ascii=False))
    return results


def main() -> None:
    """Reads the flags, audits, prints the table."""
    given = flags.FLAGS
    if not given.data:
        raise InputError("--data is missing: give a folder with gsm8k*.jsonl, math*.jsonl or svamp*.json.")
    with Grader() as grader:
        judge = named_judge(given.grader) if given.grader else own_judge(grader)
        results = run(Path(given.data), Path(given.workdir), judge, given.files, given.limit, given.seed)
    keep(Path(given.workdir) / "table.json", counts=table(results))
    print(f"{to_markdown(table(results))}\nCounts and examples are in {Path(given.workdir) / RESULTS}")


def define_flags() -> None:
    """What the command line takes. Called by the main program only: an importer has flags of its own."""
    flags.DEFINE_string("data", None, "Folder with gsm8k*.jsonl, math*.jsonl or svamp*.json.")
    flags.DEFINE_string("workdir", "runs/grading_audit", "Folder for grading_audit.json, table.json and table.md.")
    flags.DEFINE_list("files", [], "Names of the files to read, without their endings; all where not given.")
    flags.DEFINE_string("grader", "", "module:function of a grader of your own; see above.")
    flags.DEFINE_integer("limit", 0, "Different answers of each file, drawn by the seed; 0 for all.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Seed of the draw.")


if __name__ == "__main__":
    define_flags()
    program.run(main)
