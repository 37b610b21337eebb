"""Filters on practice: what is seen at once to teach nothing, or to be meant for harm.

Whether practice is right is not decided here, for nothing here knows: that is the scorer's business.
"""

import re
from collections.abc import Iterator, Sequence

from mass_jax.tasks.base import Practice, Problem, StatesAnswer, Task
from mass_jax.types import Tokenizer

MALFORMED = "malformed"
EMPTY = "it has no problem, or no solution"
REPEATING = "its solution is one token again and again"
COPYING = "its solution is its problem"
INSTRUCTING = "it tells its reader what to do"
OFF_TASK = "its problem is none of the domain's"
CONTRADICTING = "another example answers the same problem otherwise"
DUPLICATE = "an earlier example is the same"

LONGEST_REPETITION = 4
"""Tokens of a solution that are all the same."""
INSTRUCTIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instruction|prompt|rule|above|previous|prior|earlier)",
        r"\byou are now\b",
        r"\b(?:act|behave|respond) as (?:if|an?|the)\b",
        r"\b(?:system|developer) (?:prompt|message)\b",
        r"\b(?:do not|don't|never) (?:answer|solve|follow|refuse)\b",
        r"\b(?:always|only) (?:answer|reply|respond|output|say)\b",
        r"<\|?(?:im_start|im_end|system|assistant|user)\|?>|\[/?INST\]|<<SYS>>",
    )
)
"""What a reader is told by, who follows what it reads. Sound practice has none of it; see docs/safeguards.md."""


def screen(task: Task, tokenizer: Tokenizer, examples: Sequence[Practice]) -> list[str]:
    """Why each example of one problem may not count, a sentence; empty where it may.

    Args:
      task: reads practice problems, and knows their answers where it `StatesAnswer`.
      tokenizer: of the model.
      examples: M, as parsed.
    """
    found = [_alone(task, tokenizer, example) for example in examples]
    sound = [i for i, reason in enumerate(found) if not reason]
    answers: dict[str, set[str]] = {}
    for i in sound:
        answers.setdefault(_plain(examples[i].prompt), set()).add(_answer(task, examples[i]))
    seen = set[tuple[str, str]]()
    for i in sound:
        problem, solution = _plain(examples[i].prompt), _plain(examples[i].solution)
        if len(answers[problem]) > 1:
            found[i] = CONTRADICTING
        elif (problem, solution) in seen:
            found[i] = DUPLICATE
        seen.add((problem, solution))
    return found


def _alone(task: Task, tokenizer: Tokenizer, example: Practice) -> str:
    """What is wrong with an example by itself."""
    return next(_faults(task, tokenizer, example), "")


def _faults(task: Task, tokenizer: Tokenizer, example: Practice) -> Iterator[str]:
    if not example.well_formed:
        yield MALFORMED
    if not (example.prompt.strip() and example.solution.strip()):
        yield EMPTY
    tokens = tokenizer.encode(example.solution)
    if len(tokens) >= LONGEST_REPETITION and len(set(tokens)) == 1:
        yield REPEATING
    if _plain(example.prompt) == _plain(example.solution):
        yield COPYING
    if any(pattern.search(text) for pattern in INSTRUCTIONS for text in (example.prompt, example.solution)):
        yield INSTRUCTING
    if _read(task, example) is None:
        yield OFF_TASK


def _read(task: Task, example: Practice) -> Problem | None:
    try:
        return task.problem(example.prompt)
    except (ValueError, LookupError):  # a domain of a fixed form meets a text of another
        return None


def _answer(task: Task, example: Practice) -> str:
    """What the example's solution comes to."""
    problem = _read(task, example)
    if problem is None or not isinstance(task, StatesAnswer):
        return _plain(example.solution)
    return task.answer_of(problem, example.solution)


def _plain(text: str) -> str:
    """The text, however its words are set apart."""
    return " ".join(text.split())
