r"""The formats: GSM8K, MATH, SVAMP and plain JSON lines, each read into problems with a boxed final answer.

`difficulty` is the number of steps (GSM8K), the level 1 to 5 (MATH; 0 where it has none), the number of operations
(SVAMP), or what the user's file says (0 where it says nothing). There is no hidden family: `family` is the subject
(MATH), what the user's file says, or else the index of the problem itself, so that resampling families is resampling
problems.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mass_jax.tasks.mathematics import answers
from mass_jax.tasks.mathematics.fetch import SUBJECTS


@dataclasses.dataclass(frozen=True)
class Row:
    """One problem as its file has it.

    Attributes:
      prompt: the problem's statement.
      solution: worked steps; the final answer is in its last box.
      difficulty: see the module.
      family: a name, or an empty string where every problem is its own.
      id: the data set's own name for it, or an empty string.
    """

    prompt: str
    solution: str
    difficulty: int
    family: str
    id: str


def read(dataset: str, paths: Iterable[Path]) -> list[Row]:
    """All problems of a split, in the order of its files.

    Raises:
      ValueError: if a file cannot be read, lacks a field, or has a problem without a final answer.
    """
    parse = _FORMATS[dataset]
    found = []
    for path in paths:
        for position, record in enumerate(_records(path), start=1):
            try:
                row = parse(record, path)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"record {position} of {path} is not a {dataset} problem: {_reason(error, record)}"
                ) from error
            if not row.prompt or not answers.final_answer(row.solution):
                lacks = "final answer" if row.prompt else "problem text"
                raise ValueError(f"record {position} of {path} has no {lacks}: remove or complete it.")
            found.append(row)
    return found


def read_ids(path: Path) -> list[tuple[str, str]]:
    """The id and the problem text (or an empty string) of every problem that a file chooses.

    The file is JSON lines with ``unique_id`` and perhaps ``problem``, as MATH-500 is published, a JSON list of ids, or
    a text file with one id a line.
    """
    records = _records(path)
    try:
        return [(r, "") if isinstance(r, str) else (str(r["unique_id"]), str(r.get("problem", ""))) for r in records]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a list of ids: every line needs a unique_id.") from error


def _records(path: Path) -> list[Any]:
    """The objects of a .json (one object or a list of them), .jsonl or .parquet file, or the lines of a .txt file."""
    try:
        if path.suffix == ".parquet":
            try:
                import pyarrow.parquet as parquet
            except ImportError as error:
                raise ValueError("it needs pyarrow: pip install pyarrow, or give a folder of JSON files.") from error
            return parquet.read_table(path).to_pylist()
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            content = json.loads(text)
            return content if isinstance(content, list) else [content]
        filled = [line.strip() for line in text.split("\n") if line.strip()]
        return filled if path.suffix == ".txt" else [json.loads(line) for line in filled]
    except (OSError, ValueError) as error:  # pyarrow's and json's own errors are of these kinds
        raise ValueError(f"{path} cannot be read: {error}") from error


def _reason(error: Exception, record: Any) -> str:
    if isinstance(error, KeyError):
        fields = ", ".join(record) if isinstance(record, Mapping) else type(record).__name__
        return f"it has no field {error} but {fields}."
    return str(error)


def _gsm8k(record: Mapping[str, Any], path: Path) -> Row:
    steps, marked, answer = str(record["answer"]).rpartition("####")
    if not marked:
        raise ValueError("its answer has no '####' before the final number.")
    # The calculator's marks, <<6*7=42>>, are for a calculator that the model was meant to call.
    lines = [line.strip() for line in re.sub(r"<<[^<>]*>>", "", steps).strip().split("\n") if line.strip()]
    solution = "\n".join([*lines, answers.boxed(answer.strip())])
    return Row(str(record["question"]).strip(), solution, len(lines), "", "")


def _math(record: Mapping[str, Any], path: Path) -> Row:
    subject = str(record.get("type") or record.get("subject") or path.parent.name)
    subject = subject.lower().replace("&", "and").replace(" ", "_")
    if subject not in SUBJECTS:
        raise ValueError(f"its type is {subject!r}, not one of {', '.join(SUBJECTS)}.")
    level = re.search(r"\d", str(record.get("level", "")))
    name = str(record.get("unique_id") or (f"{path.parts[-3]}/{subject}/{path.name}" if path.suffix == ".json" else ""))
    return Row(
        str(record["problem"]).strip(), str(record["solution"]).strip(), int(level[0]) if level else 0, subject, name
    )


def _svamp(record: Mapping[str, Any], path: Path) -> Row:
    body = str(record["Body"]).strip()
    body += "" if not body or body[-1] in ".!?,;" else "."
    answer = _plain_numbers(str(record["Answer"]))
    equation = _plain_numbers(str(record.get("Equation") or "")).strip()
    if equation.startswith("(") and equation.endswith(")") and equation.count("(") == 1:
        equation = equation[1:-1].strip()
    solution = f"{equation} = {answer}\n{answers.boxed(answer)}" if equation else answers.boxed(answer)
    operations = len(re.findall(r"(?<=\s)[-+*/](?=\s)", equation))
    return Row(f"{body} {str(record['Question']).strip()}".strip(), solution, operations, "", str(record.get("ID", "")))


def _plain_numbers(text: str) -> str:
    """``8.0`` as 8."""
    return re.sub(r"(?<![\d.])(\d+)\.0+(?!\d)", r"\1", text)


def _jsonl(record: Mapping[str, Any], path: Path) -> Row:
    prompt = next((record[key] for key in ("prompt", "question", "problem") if key in record), None)
    if prompt is None:
        raise KeyError("prompt")
    if "solution" not in record and "answer" not in record:
        raise KeyError("answer")
    solution, answer = str(record.get("solution") or "").strip(), str(record.get("answer", "")).strip()
    if answer:
        shown = answers.marked_answer(solution) if "\\boxed" in solution else None
        if shown is not None and shown != answer:
            raise ValueError(f"its solution boxes {shown!r} but its answer is {answer!r}.")
    if "\\boxed" not in solution:
        answer = answer or answers.final_answer(solution)
        steps = solution.partition("####")[0].rstrip()
        solution = "\n".join(filter(None, [steps, answers.boxed(answer) if answer else ""]))
    return Row(
        str(prompt).strip(),
        solution,
        int(record.get("difficulty", 0)),
        str(record.get("family", "")),
        str(record.get("id", "")),
    )


_FORMATS: dict[str, Callable[[Mapping[str, Any], Path], Row]] = {
    "gsm8k": _gsm8k,
    "math": _math,
    "svamp": _svamp,
    "jsonl": _jsonl,
}
