r"""Reads the practice example that a model has written.

Asked for is ``Problem: ... Solution: ... \boxed{...}``. Models vary it with headings in bold or with numbers, talk
before and after, write "Question" and "Answer", or go on with a second problem. All of this is read; what lacks a
problem, a solution or a marked final answer is malformed.
"""

import re

from mass_jax.tasks.base import MALFORMED, Practice
from mass_jax.tasks.mathematics import answers

LONGEST = 20_000
"""Characters that are read."""

# A heading is a line's first words. Without a colon it must be marked as a heading: "**Solution**", "### Solution".
_MARKED = (
    r"^[ \t]{{0,8}}(?:[#*_>]{{1,6}}[ \t]{{0,8}})?(?:\(?\d{{1,3}}[.)][ \t]{{0,8}})?[*_]{{0,3}}{words}"
    r"[ \t]{{0,8}}[*_]{{0,3}}[ \t]{{0,8}}:[ \t]{{0,8}}[*_]{{0,3}}"
)
_BARE = r"^[ \t]*(?:#+[ \t]*[*_]{{0,3}}|[*_]{{2,3}}){words}[ \t]*[*_]{{0,3}}[ \t]*$"
_SOLUTION_WORDS = r"(?:(?:your|the|detailed|step[- ]by[- ]step|worked)[ \t]+){0,3}solution(?:[ \t]*#?\d{1,3})?"


def _heading(words: str) -> re.Pattern[str]:
    either = "|".join(pattern.format(words=words) for pattern in (_MARKED, _BARE))
    return re.compile(either, re.IGNORECASE | re.MULTILINE)


_PROBLEM, _SOLUTION, _ANSWER = _heading(answers.HEADING), _heading(_SOLUTION_WORDS), _heading("(?:final[ \t]+)?answer")
_RULE = re.compile(r"^[ \t]*(?:-{3,}|\*{3,}|={3,})[ \t]*$", re.MULTILINE)
_BOX = re.compile(r"\\boxed[ \t]*\{?")


def parse_practice(text: str) -> Practice:
    """The first practice example of a completion, or `MALFORMED`; never raises.

    Where the completion has no heading for the problem, as after a base model's prompt, it begins with the problem. The
    solution of what is returned always has its answer in a box.
    """
    text = answers.said(text)[:LONGEST].replace("\r\n", "\n")
    solution = _first(_SOLUTION, text) or _first(_ANSWER, text)
    if solution is None:
        return MALFORMED
    before, after = text[: solution.start()], text[solution.end() :]
    headings = list(_PROBLEM.finditer(before))
    problem = _trimmed(before[headings[-1].end() if headings else 0 :])
    following = _PROBLEM.search(after)
    steps = _boxed(_trimmed(after[: following.start()] if following else after))
    if steps is None or not any(map(str.isalnum, problem)):
        return MALFORMED
    return Practice(problem, steps, True)


def _first(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The first heading that something stands before."""
    return next((match for match in pattern.finditer(text) if text[: match.start()].strip()), None)


def _trimmed(text: str) -> str:
    """Without horizontal rules, and without bold marks around the whole."""
    text = _RULE.sub("", text).strip()
    if text.count("**") % 2:  # its partner stood with the heading
        text = text.removesuffix("**")
    return text[2:-2].strip() if re.fullmatch(r"\*\*[^*]+\*\*", text) else text


def _boxed(solution: str) -> str | None:
    """The solution up to the end of the paragraph of its answer, with the answer in a box; None if it marks none."""
    boxes = list(_BOX.finditer(solution))
    if boxes:
        paragraph = solution.find("\n\n", boxes[-1].end())
        written = solution if paragraph < 0 else solution[:paragraph].rstrip()
    else:
        answer = answers.marked_answer(solution) or ""
        if not any(map(str.isalnum, answer)):
            return None
        steps = solution.partition("####")[0].rstrip()
        written = "\n".join(filter(None, [steps, answers.boxed(answer)]))
    return written if answers.marked_answer(written) and not answers.has_open_box(written) else None
