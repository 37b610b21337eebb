r"""The formats: GSM8K, MATH, SVAMP and plain JSON lines, each read into problems with a boxed final answer.

`difficulty` is the number of steps (GSM8K), the level 1 to 5 (MATH; 0 where it has none), the number of operations
(SVAMP), or what the user's file says (0 where it says nothing). There is no hidden family: `family` is the subject
(MATH), what the user's file says, or else the index of the problem itself, so that resampling families is resampling
problems.

A field that should be text is text or a number. Null, lists and NaN are refused, with their line: as texts they would
be answers that nobody can give.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mass_jax.tasks import rows
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
      ValueError: if a file cannot be read, has no problem, lacks a field, or has a problem without a final answer.
    """
    parse = _FORMATS[dataset]
    found: list[Row] = []
    for path in paths:
        before = len(found)
        for place, record in list(rows.records(path)):
            try:
                if not isinstance(record, Mapping):
                    raise ValueError(f"it is {_kind(record)}, not an object with fields.")
                row = parse(record, path)
            except (KeyError, ValueError) as error:
                raise ValueError(f"{place} of {path} is not a {dataset} problem: {_reason(error, record)}") from error
            if not row.prompt or not answers.final_answer(row.solution):
                lacks = "final answer" if row.prompt else "problem text"
                raise ValueError(f"{place} of {path} has no {lacks}: remove or complete it.")
            found.append(row)
        if len(found) == before:
            raise ValueError(f"{path} has no problem in it: write at least one, or remove the file.")
    return found


def read_ids(path: Path) -> list[tuple[str, str]]:
    """The id and the problem text (or an empty string) of every problem that a file chooses.

    The file is JSON lines with ``unique_id`` and perhaps ``problem``, as MATH-500 is published, a JSON list of ids, or
    a text file with one id a line.
    """
    records = [record for _, record in rows.records(path)]
    try:
        return [(r, "") if isinstance(r, str) else (_text(r, "unique_id"), _given(r, "problem")) for r in records]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a list of ids: every line needs a unique_id.") from error


def _text(record: Mapping[str, Any], *names: str) -> str:
    """The field of the first of these names that the record has, as text without space around it.

    Raises:
      KeyError: it has none.
      ValueError: what it has is neither text nor a number.
    """
    name = next((name for name in names if name in record), None)
    if name is None:
        raise KeyError(names[0])
    value = record[name]
    unreadable = isinstance(value, bool) or not isinstance(value, str | int | float)
    if unreadable or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"its {name} is {_kind(value)}: give text or a number.")
    try:
        text = str(value).strip()
        text.encode()
    except ValueError as error:  # half of a surrogate pair, or an integer of thousands of digits
        raise ValueError(f"its {name} cannot be written as text: {error}.") from None
    return text


def _given(record: Mapping[str, Any], name: str) -> str:
    """As `_text`, of a field that may be absent or null; then an empty string."""
    return "" if record.get(name) is None else _text(record, name)


def _kind(value: Any) -> str:
    names = {type(None): "null", list: "a list", dict: "an object", bool: "true or false", float: "not a finite number"}
    return names.get(type(value), type(value).__name__)


def _reason(error: Exception, record: Any) -> str:
    if isinstance(error, KeyError):
        fields = ", ".join(record) if isinstance(record, Mapping) else type(record).__name__
        return f"it has no field {error} but {fields}."
    return str(error)


def _gsm8k(record: Mapping[str, Any], path: Path) -> Row:
    question, answer = _text(record, "question"), _text(record, "answer")
    if "####" not in answer:
        raise ValueError("its answer has no '####' before the final number.")
    lines = _steps(answer)
    return Row(question, "\n".join(lines), len(lines) - 1, "", "")


def _steps(text: str) -> list[str]:
    """The lines of a solution in GSM8K's layout, the last of them its final answer in a box."""
    steps, _, answer = text.rpartition("####")
    # The calculator's marks, <<6*7=42>>, are for a calculator that the model was meant to call.
    lines = [line.strip() for line in re.sub(r"<<[^<>]*>>", "", steps).strip().split("\n") if line.strip()]
    return [*lines, answers.boxed(answer.strip())]


def _math(record: Mapping[str, Any], path: Path) -> Row:
    subject = _given(record, "type") or _given(record, "subject") or path.parent.name
    subject = subject.lower().replace("&", "and").replace(" ", "_")
    if subject not in SUBJECTS:
        raise ValueError(f"its type is {subject!r}, not one of {', '.join(SUBJECTS)}.")
    level = re.search(r"\d", _given(record, "level"))
    name = _given(record, "unique_id") or (f"{path.parts[-3]}/{subject}/{path.name}" if path.suffix == ".json" else "")
    return Row(_text(record, "problem"), _text(record, "solution"), int(level[0]) if level else 0, subject, name)


def _svamp(record: Mapping[str, Any], path: Path) -> Row:
    body = _text(record, "Body")
    body += "" if not body or body[-1] in ".!?,;" else "."
    answer = _plain_numbers(_text(record, "Answer"))
    equation = _plain_numbers(_given(record, "Equation")).strip()
    if equation.startswith("(") and equation.endswith(")") and equation.count("(") == 1:
        equation = equation[1:-1].strip()
    solution = f"{equation} = {answer}\n{answers.boxed(answer)}" if equation else answers.boxed(answer)
    operations = len(re.findall(r"(?<=\s)[-+*/](?=\s)", equation))
    return Row(f"{body} {_text(record, 'Question')}".strip(), solution, operations, "", _given(record, "ID"))


def _plain_numbers(text: str) -> str:
    """``8.0`` as 8."""
    return re.sub(r"(?<![\d.])(\d+)\.0+(?!\d)", r"\1", text)


def _jsonl(record: Mapping[str, Any], path: Path) -> Row:
    prompt, solution = _text(record, "prompt", "question", "problem"), _given(record, "solution")
    answer = _text(record, "answer") if "answer" in record or "solution" not in record else ""
    if not solution and (answers.marked_answer(answer) is not None or "\n" in answer):
        solution, answer = answer, ""  # worked steps and a marked answer in one field, as GSM8K's own
        if answers.marked_answer(solution) is None:
            raise ValueError(
                "its answer has several lines and does not mark the final one: put the worked steps into 'solution'."
            )
    if solution.rpartition("\n")[2].startswith("####"):
        solution = "\n".join(_steps(solution))
    if "\\boxed" not in solution:
        answer = answer or answers.final_answer(solution)
        solution = "\n".join(filter(None, [solution, answers.boxed(answer) if answer else ""]))
    elif answer and answers.marked_answer(solution) != answer:
        raise ValueError(f"its solution boxes {answers.marked_answer(solution)!r} but its answer is {answer!r}.")
    return Row(prompt, solution, _level(record), _given(record, "family"), _given(record, "id"))


def _level(record: Mapping[str, Any]) -> int:
    """The difficulty: what the file says, 0 where it says nothing."""
    text = _given(record, "difficulty") or "0"
    if not re.fullmatch(r"\d{1,9}(\.0*)?", text):
        raise ValueError(f"its difficulty is {text[:40]!r}: give a whole number from 0 to 999999999.")
    return int(float(text))


_FORMATS: dict[str, Callable[[Mapping[str, Any], Path], Row]] = {
    "gsm8k": _gsm8k,
    "math": _math,
    "svamp": _svamp,
    "jsonl": _jsonl,
}
