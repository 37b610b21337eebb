"""How a question is written: its subject, the question, and its choices, each behind its letter.

    Subject: college biology
    A frameshift mutation is created when
    A. telomeric sequences are removed from DNA
    B. a base pair is either inserted or deleted in a gene

The line with the subject may be missing.
"""

import re
from typing import NamedTuple

LETTERS = "ABCDEFGHIJ"
"""Of the choices; a question has two or more."""
_SUBJECT = re.compile(r"Subject: *(\S[^\n]*)\n")
_CHOICE = re.compile(r"^([A-J])\. ", re.MULTILINE)


class Question(NamedTuple):
    """A question that is asked.

    Attributes:
      text: the question itself.
      choices: the texts of its choices, in the order of their letters.
      subject: in words, such as "college biology"; empty where it is not known.
    """

    text: str
    choices: tuple[str, ...]
    subject: str = ""

    @property
    def letters(self) -> str:
        """Those of its choices."""
        return LETTERS[: len(self.choices)]

    @property
    def body(self) -> str:
        """The question and its choices, without the subject."""
        lines = (f"{letter}. {choice}" for letter, choice in zip(LETTERS, self.choices, strict=False))
        return "\n".join([self.text, *lines])

    @property
    def whole(self) -> str:
        """All of it; `read` reads it back."""
        return f"Subject: {self.subject}\n{self.body}" if self.subject else self.body


def read(text: str) -> Question:
    """Read a question.

    Raises:
      ValueError: it is of another form.
    """
    subject = _SUBJECT.match(text)
    body = text[subject.end() :] if subject else text
    parts = parted(body, _CHOICE)
    if parts is None:
        raise ValueError(
            f"a question is a text and its choices, 2 to {len(LETTERS)} lines that begin with 'A. ', 'B. ' and so on; "
            "before it there may be a line 'Subject: ...'."
        )
    return Question(parts[0].removesuffix("\n"), parts[1], subject[1].strip() if subject else "")


def parted(body: str, mark: re.Pattern[str]) -> tuple[str, tuple[str, ...]] | None:
    """The question and its choices; None where the marks, the first group of each a letter, are not A, B and so on.

    The choices begin at the last A: lines of the question may begin with letters too.
    """
    marks = list(mark.finditer(body))
    first = max((i for i, each in enumerate(marks) if each[1] == "A"), default=len(marks))
    own = marks[first:]
    ordered = "".join(each[1] for each in own)
    if len(own) < 2 or ordered != LETTERS[: len(own)] or not body[: own[0].start()].strip():
        return None
    ends = [each.start() - 1 for each in own[1:]] + [len(body)]
    return body[: own[0].start()], tuple(body[each.end() : end] for each, end in zip(own, ends, strict=True))
