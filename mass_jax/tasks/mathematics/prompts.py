"""Prompts: one readable file for each data set in ``prompts/``, with marked sections for chat and for base models."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from mass_jax.tasks.chat import Chat, said

FOLDER = Path(__file__).with_name("prompts")
PROBLEM = "{problem}"
"""Where a prompt takes its problem."""

SEPARATOR = "\n\n"
"""Between the worked examples of a base model."""

_WORKED = re.compile(r"Problem:\n(.+?)\nRelated problem:\n(.+?)\nSolution:\n(.+)", re.DOTALL)
_HEADING = re.compile(r"^## +(.+?) *$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Prompts:
    """The sections of one file.

    Attributes:
      system: the system message; empty for none.
      solve, synthesise: user turns of a chat model.
      base_solve, base_synthesise: worked examples and the beginning of one more, for a base model to continue.
    """

    system: str
    solve: str
    synthesise: str
    base_solve: str
    base_synthesise: str


def load(name: str | Path) -> Prompts:
    """Read a file of prompts.

    Args:
      name: a data set that comes with the package, or the path of a file of the user's own.

    Raises:
      ValueError: if there is no such file, or if it lacks a section or a section lacks its ``{problem}``.
    """
    path = FOLDER / f"{name}.md" if Path(name).suffix == "" else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.md")))
        raise ValueError(f"there are no prompts {str(name)!r}: choose one of {known}, or give the path of a .md file.")
    _, *parts = _HEADING.split(path.read_text(encoding="utf-8"))
    sections = dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))
    headings = ("system", "solve", "synthesise", "solve, base model", "synthesise, base model")
    for heading in headings:
        if heading not in sections:
            raise ValueError(f"{path} has no section '## {heading}'; it needs {', '.join(headings)}.")
        if heading != "system" and sections[heading].count(PROBLEM) != 1:
            count = sections[heading].count(PROBLEM)
            raise ValueError(f"the section '## {heading}' of {path} has {PROBLEM} {count} times; it needs it once.")
        if "base" in heading and PROBLEM not in sections[heading].rpartition(SEPARATOR)[2]:
            raise ValueError(f"the section '## {heading}' of {path} must have {PROBLEM} in its last paragraph.")
    system, solve, synthesise, base_solve, base_synthesise = (sections[heading] for heading in headings)
    # A base model continues on a new line: its first token is then the same whatever the tokenizer does with spaces.
    return Prompts(system, solve, synthesise, f"{base_solve}\n", f"{base_synthesise}\n")


def worked_practice(prompts: Prompts) -> list[tuple[str, str]]:
    """The worked examples of ``base_synthesise`` as turns of a chat: a problem, and practice in the form asked for."""
    found = map(_WORKED.fullmatch, prompts.base_synthesise.split(SEPARATOR))
    return [(each[1], f"Problem: {each[2]}\nSolution: {each[3]}") for each in found if each]


def render(template: str, problem: str, examples: Sequence[tuple[str, str]], system: str, chat: Chat | None) -> str:
    """The text that a model reads.

    Args:
      template: a section of the file: a user turn, or for a base model worked examples and the beginning of one more.
      problem: takes the template's ``{problem}``.
      examples: further (problem, answer) pairs before it: turns of the chat, or worked examples.
      system: the system message of a chat; empty for none.
      chat: renders messages; None for a base model.
    """
    if chat is None:
        worked, _, begun = template.rpartition(SEPARATOR)
        more = [begun.replace(PROBLEM, asked) + answer for asked, answer in examples]
        return SEPARATOR.join([worked, *more, begun.replace(PROBLEM, problem)])
    messages = [said("system", system)] if system else []
    for asked, answer in examples:
        messages += [said("user", template.replace(PROBLEM, asked)), said("assistant", answer)]
    return chat([*messages, said("user", template.replace(PROBLEM, problem))])
