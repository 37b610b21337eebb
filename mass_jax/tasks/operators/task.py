r"""Hidden operators as a `Task` for a pretrained language model, which continues lines.

    solve        4@7=28\n3@5=15\n2@9=18\n8@3=24\n6@9=      the model writes the value and a new line
    synthesise   4@7=28\n3@5=15\n2@9=18\n8@3=24\n...       the model writes another line, question and value

A practice example is a written line with the problem's own lines before it, for a question alone is about no rule. A
line whose question the problem answers itself has the *other* lines before it: what it asks is then not to be copied.
The generator reads the lines twice, the second time in another order, so that it takes lines to be repeated: what an
untrained one writes is then as often one of them as a new one, which is mostly wrong. It does not see the question.
"""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from mass_jax.tasks.base import MALFORMED, Check, Practice, Problem, Verdict
from mass_jax.tasks.operators.builder import PAIRS, facts, line, question
from mass_jax.tasks.operators.rules import SHOWN, Rule

SECOND_ORDER = (1, 3, 0, 2)
"""In which the generator reads the lines again."""
_LINE = re.compile(r"(([0-9]{1,2})@([0-9]{1,2})=)([0-9]{1,4})")


@dataclasses.dataclass(frozen=True)
class OperatorsTask:
    """Hidden operators; see `rules.py`.

    Attributes:
      rules: the rule of every family, by its index.
    """

    rules: tuple[Rule, ...]

    check_names = ("value | lines", "first line | practice", "last line | practice")

    def problem(self, prompt: str) -> Problem:
        """A problem of which only the prompt is known.

        Raises:
          ValueError: it is not of the form.
        """
        shown = facts(prompt)
        lines = (*shown, f"{_asked(prompt)}0")  # the question with any value
        if len(shown) != SHOWN or not prompt.endswith("=") or not all(map(_LINE.fullmatch, lines)):
            raise ValueError(
                f"a problem shows {SHOWN} lines and asks for another, each on a line of its own, such as "
                "'4@7=28', '3@5=15', '2@9=18', '8@3=24', '6@9='"
            )
        return Problem(prompt, "", shown, -1, -1)

    def solve_prompt(self, prompt: str, shown: Sequence[Practice] = ()) -> str:
        """The problem; of practice that is ``shown``, its own lines come first."""
        return "".join([*(f"{_own_line(e)}\n" for e in shown), prompt])

    def synthesis_prompt(self, problem: Problem) -> str:
        """The problem's lines, and again in another order."""
        return _lines([*problem.facts, *(problem.facts[i] for i in SECOND_ORDER)])

    def written(self, problem: Problem, practice: Practice) -> str:
        """Question and value."""
        return _own_line(practice)

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read one line; anything else is malformed."""
        read = _LINE.fullmatch(text.strip())
        return _practice(problem, read[1], read[4]) if read else MALFORMED

    def grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """Exact match of the value."""
        return [self._grade(problem, text.strip()) for problem, text in zip(problems, texts, strict=True)]

    def _grade(self, problem: Problem, text: str) -> Verdict:
        if text == problem.solution:
            return Verdict(True, "equal to the reference")
        return Verdict(False, f"{text!r} differs from {problem.solution}")

    def answer_of(self, problem: Problem, text: str) -> str:
        """The value."""
        return text.strip()

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """Do the problem's lines predict the practice's value, and does the practice predict the lines?

        The first has all of the problem's lines before it: the value of a line that the problem shows is then copied.
        """

        def predict(i: int) -> Check:
            others = [fact for fact in problem.facts if fact != problem.facts[i]]
            shown, _, value = problem.facts[i].partition("=")
            return Check(f"{_lines([*others, _own_line(practice)])}{shown}=", f"{value}\n")

        return (
            Check(_lines(problem.facts) + _asked(practice.prompt), f"{practice.solution}\n"),
            predict(0),
            predict(-1),
        )

    def is_correct(self, problem: Problem, practice: Practice) -> bool:
        """The line is the hidden rule's."""
        read = _LINE.fullmatch(_own_line(practice))
        return read is not None and self.rules[problem.family](int(read[2]), int(read[3])) == int(read[4])

    def is_on_family(self, problem: Problem, practice: Practice) -> bool:
        """What practice states as given are the problem's own lines."""
        return practice.well_formed

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """The practice asks what the problem asks, in either order of the operands."""
        return practice.well_formed and _asked(practice.prompt) in _both_orders(problem)

    def gold_practice(
        self, problem: Problem, count: int, rng: np.random.Generator, strict: bool
    ) -> tuple[Practice, ...]:
        """Random lines of the hidden rule that the problem does not show; see `KnowsFamily`."""
        rule, leaks = self.rules[problem.family], _both_orders(problem) if strict else ()
        lines = [(question(a, b), str(rule(a, b))) for a, b in PAIRS if line(rule, a, b) not in problem.facts]
        lines = [each for each in lines if each[0] not in leaks]
        return tuple(_practice(problem, *lines[i]) for i in rng.permutation(len(lines))[:count])

    def shown_practice(self, problem: Problem, count: int, rng: np.random.Generator) -> tuple[Practice, ...]:
        """Each of the problem's lines after the others, in random order, again from the start where they run out."""
        order = rng.permutation(len(problem.facts))
        parts = [problem.facts[i].partition("=") for i in order]
        rows = [_practice(problem, f"{asked}=", value) for asked, _, value in parts]
        return tuple(rows[i % len(rows)] for i in range(count))


def _practice(problem: Problem, asked: str, value: str) -> Practice:
    others = [fact for fact in problem.facts if not fact.startswith(asked)]
    return Practice(_lines(others) + asked, value, True)


def _own_line(practice: Practice) -> str:
    return _asked(practice.prompt) + practice.solution


def _asked(prompt: str) -> str:
    """The question, ``6@9=``."""
    return prompt.rpartition("\n")[2]


def _both_orders(problem: Problem) -> tuple[str, str]:
    asked = _asked(problem.prompt)
    return asked, f"{asked[:3][::-1]}="


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{each}\n" for each in lines)
