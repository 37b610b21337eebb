"""What models read and write: problems, solutions, practice with its tests; for chats and for models that continue.

A practice example is a task, tests that a right solution passes, and a solution in a fence:

    Task: Write a function to double a number.
    Tests:
    assert double(2) == 4
    Solution:
    ```python
    def double(x):
        return 2 * x
    ```
"""

import re
from collections.abc import Sequence

from mass_jax.tasks.chat import Chat, said
from mass_jax.tasks.code.data import TESTS, posed

SOLVE = "Solve the problem in Python. Answer with the code alone, in one fence that begins with ```python."
SYNTHESISE = (
    "Write another problem like this one, for practice: a line that begins with 'Task:', then 'Tests:' and three lines "
    "that begin with assert, then 'Solution:' and the code in a fence that begins with ```python."
)
STOPS = ("\nProblem:", "\n```\n")
"""Where a model that continues has ended its solution."""
_WORKED = (
    ("Write a function to find the largest of three numbers.", "largest", "a, b, c", "max(a, b, c)", "(1, 5, 3) == 5"),
    (
        "Write a function to reverse the words of a text.",
        "turned",
        "text",
        "' '.join(text.split()[::-1])",
        "('a b') == 'b a'",
    ),
)
_PRACTICE = re.compile(r"\s*Task:(.+?)\n\s*Tests:\n(.+?)\n\s*Solution:\s*\n(.+)", re.DOTALL)


def _worked() -> list[tuple[str, str, str]]:
    """A task, its test and its solution."""
    return [
        (text, f"assert {name}{test}", f"def {name}({arguments}):\n    return {value}")
        for text, name, arguments, value, test in _WORKED
    ]


def fenced(code: str) -> str:
    """Code as a solution is written."""
    return f"```python\n{code.strip()}\n```"


def solve(problem: str, shown: Sequence[tuple[str, str]], chat: Chat | None) -> str:
    """What the solver reads; ``shown`` are problems with their solutions."""
    if chat is None:
        worked = [(posed(text, [test]), code) for text, test, code in _worked()]
        told = "".join(f"Problem: {asked}\nSolution:\n{fenced(code)}\n\n" for asked, code in (*worked, *shown))
        return f"{told}Problem: {problem}\nSolution:\n```python\n"
    messages = []
    for asked, code in shown:
        messages += [said("user", f"{SOLVE}\n\n{asked}"), said("assistant", fenced(code))]
    return chat([*messages, said("user", f"{SOLVE}\n\n{problem}")])


def synthesise(problem: str, chat: Chat | None) -> str:
    """What the generator reads."""
    if chat is not None:
        return chat([said("user", f"{SYNTHESISE}\n\n{problem}")])
    (one, one_test, _), (other, other_test, code) = _worked()
    example = practice(posed(other, [other_test]), code)
    return f"Problem: {posed(one, [one_test])}\n{example}\n\nProblem: {problem}\n"


def practice(problem: str, code: str) -> str:
    """A practice example as a generator writes it."""
    text, _, tests = problem.partition(f"\n{TESTS}\n")
    return f"Task: {text}\nTests:\n{tests}\nSolution:\n{fenced(code)}"


def read_practice(text: str) -> tuple[str, list[str], str] | None:
    """The task, the tests and what stands as a solution of a practice example; None of another form."""
    found = _PRACTICE.match(text)
    if not found:
        return None
    return found[1].strip(), [line.strip() for line in found[2].split("\n") if line.strip()], found[3]
