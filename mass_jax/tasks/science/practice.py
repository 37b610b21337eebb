"""Reads the practice that a model has written: a question, its choices and its answer, or why it is malformed.

Models vary the form with headings, bold letters and "B)" in place of "B."; this is read. What follows the answer is
not.
"""

import re
from typing import NamedTuple

from mass_jax.tasks.science import letters
from mass_jax.tasks.science.form import LETTERS, Question, parted

LONGEST = 20_000
"""Characters that are read."""
_ANSWER = re.compile(r"^[ \t#*_(]*(?:the )?(?:correct |right )?answer[ \t*_]*(?:is\b:?|:)([^\n]*)", re.I | re.M)
_CHOICE = re.compile(r"^[ \t]*[*_(]{0,3}([A-J])[*_]{0,2}[.):][*_]{0,2}[ \t]*", re.MULTILINE)
_HEADING = re.compile(
    r"^(?:[^\n:?]{0,80}\bquestion\b[^\n:?]{0,80}:[ \t*_]*\n|[ \t#*_]*(?:practice |new )?question(?: \d+)?[ \t*_]*:)",
    re.I | re.M,
)
"""A line that ends with "question ...:", or "Question:" before one."""


class Written(NamedTuple):
    """Practice as it was written.

    Attributes:
      question: without a subject; None where it is malformed.
      letter: of its answer.
      reason: why it is malformed.
    """

    question: Question | None
    letter: str = ""
    reason: str = ""


def read(text: str) -> Written:
    """The first practice example of a completion. Never raises."""
    text = text[:LONGEST].replace("\r\n", "\n")
    answer = _ANSWER.search(text)
    if answer is None:
        return Written(None, reason="no line begins with 'Answer:'")
    before = text[: answer.start()].rstrip()
    parts = parted(before, _CHOICE)
    if parts is None:
        return Written(None, reason="there is no question with choices A, B and so on before the answer")
    asked, *choices = (each.strip(" \t\n*_") for each in (_HEADING.split(parts[0])[-1], *parts[1]))
    if not any(map(str.isalnum, asked)):
        return Written(None, reason="there is no question")
    if not all(choices):
        return Written(None, reason="a choice is empty")
    if len(set(choices)) < len(choices):
        return Written(None, reason="two choices are the same")
    found = letters.read(answer[1], LETTERS[: len(choices)])
    if not found.letter:
        return Written(None, reason=found.reason)
    return Written(Question(asked, tuple(choices)), found.letter)
