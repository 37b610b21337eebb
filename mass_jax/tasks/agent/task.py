"""Episodes as a `Task`: what a model called is called again, and what is then in the files is looked at."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np

from mass_jax.tasks.agent import documents, transcript
from mass_jax.tasks.agent.documents import RUNS, asked, read_runs, seen
from mass_jax.tasks.agent.rules import HELD, NAMES, Rule, agreeing, named
from mass_jax.tasks.base import MALFORMED, Check, Piece, Practice, Problem, Verdict
from mass_jax.tasks.worked import ANSWER, ASKS, SOLVE, SYNTHESISE, WorkedTask, answer_of


@dataclasses.dataclass(frozen=True)
class AgentTask(WorkedTask):
    """What is to be written where; see `rules.py`, `tools.py`, `transcript.py` and `documents.py`.

    Attributes:
      rules: the recipe of every family, by its index.
    """

    rules: tuple[Rule, ...]

    hands_over: ClassVar[str] = transcript.HANDS_OVER
    check_names: ClassVar[tuple[str, ...]] = (
        *(f"run {i} | recipe" for i in range(1, RUNS + 1)),
        "written | calls",
        "recipe | runs",
    )

    def problem(self, prompt: str) -> Problem:
        """A problem of which only the prompt is known.

        Raises:
          ValueError: it is not of the form, or no recipe makes its runs.
        """
        runs, files = read_runs(seen(prompt)), asked(prompt)
        if runs is None or len(runs) != RUNS or files is None:
            raise ValueError(
                f"a problem shows {RUNS} runs and asks for one with other contents of the files {', '.join(NAMES)}, "
                f"{HELD.start} to {HELD[-1]}, such as '{documents.EXAMPLE}'"
            )
        if not _rules_of(seen(prompt)):
            raise ValueError(f"no recipe makes all runs of '{seen(prompt)}'; correct one of them")
        return Problem(prompt, "", documents.facts(prompt), -1, -1)

    def solve_prompt(self, prompt: str, shown: Sequence[Practice] = ()) -> str:
        """The runs, then the mark after which a solution is expected: what is in the files has to be read there."""
        examples = (f"{seen(each.prompt)}{SOLVE} {each.solution}" for each in shown)
        return " ".join([*examples, seen(prompt) + SOLVE])

    def synthesis_prompt(self, problem: Problem) -> str:
        """The runs, then the mark after which a practice example is expected."""
        return seen(problem.prompt) + SYNTHESISE

    def written(self, problem: Problem, practice: Practice) -> str:
        """``recipe = episode``."""
        return practice.solution

    def answered(self, problem: Problem, text: str) -> str | None:
        """What the tools say to the last call of what stands after ``=``, in the world of the problem."""
        files = asked(problem.prompt)
        return None if files is None else transcript.answered(answer_of(text), files)

    def pieces(self, solution: str) -> tuple[Piece, ...]:
        """See `transcript.pieces`; the recipe belongs to the first call."""
        return transcript.pieces(solution)

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Calls again what stands after ``=``, and compares the files with those that the recipe leaves.

        The recipe is every one that makes the runs that the problem shows; the one that is named is not judged. No
        other file may be changed or added, the tools must have said what the text says, and its end is ``done``.
        """
        files, rules = asked(problem.prompt), _rules_of(seen(problem.prompt))
        wanted = [_left_by(rule, files) for rule in rules] if files else []
        if files is None or not wanted or not all(wanted):
            return Verdict(False, "no recipe makes the problem's runs, and a number of its files", judged=False)
        world, _, forged, trouble = transcript.replayed(answer_of(text), files)
        if forged:
            return Verdict(False, forged)
        after = f"; {trouble}" if trouble else ""
        if not world.done:
            return Verdict(False, f"the episode does not end with done{after}")
        wrong = next((left for left in wanted if left != world.files), None)
        if wrong is None:
            return Verdict(True, f"{rules[0].target} holds {wanted[0][rules[0].target]}")
        return Verdict(False, _difference(world.files, wrong) + after)

    def answer_of(self, problem: Problem, text: str) -> str:
        """The last call that writes; all that stands after ``=`` where there is none."""
        answer = answer_of(text)
        return (_writes(answer) or [answer])[-1]

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read ``recipe = episode``, another one after the same runs; anything else is malformed.

        Its files hold what the episode reads in them. Malformed is also an episode that reads or writes nothing, that
        is not done, or in which a tool cannot do something or says what it would not say. A wrong recipe is the
        scorer's business, and so is one that is not carried out.
        """
        name, _, episode = text.partition(f"{ANSWER} ")
        files = _imagined(episode)
        if named(name) is None or not files or not {*files} <= {*NAMES} or not {*files.values()} <= {*HELD}:
            return MALFORMED
        world, _, forged, trouble = transcript.replayed(episode, files)
        if forged or trouble or not world.done or not _writes(episode):
            return MALFORMED
        return Practice(f"{seen(problem.prompt)}{ASKS}{documents.stated(files)}", text, True)

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """Does the recipe that the practice names make the problem's runs, and does the model stand by the rest?"""
        name, solve = practice.solution.partition(ANSWER)[0], self.solve_prompt(practice.prompt)
        before, write, after = practice.solution.rpartition(" write ")

        def makes() -> Iterator[Check]:
            for fact in problem.facts:
                files, marked, made = fact.partition(" > ")
                yield Check(f"{name}{SOLVE} {files}{marked.rstrip()}", made)

        return (*makes(), Check(f"{solve} {before}{write}".rstrip(), after.partition(" >")[0]), Check(solve, name))

    def is_correct(self, problem: Problem, practice: Practice) -> bool:
        """It names the hidden recipe, and its episode leaves the files as this one does."""
        rule, files = self.rules[problem.family], asked(practice.prompt)
        if not self.is_on_family(problem, practice) or files is None:
            return False
        world, _, forged, _ = transcript.replayed(answer_of(practice.solution), files)
        done = world.done and not forged and world.files == _left_by(rule, files)
        return practice.solution.startswith(f"{rule.name}{ANSWER}") and done

    def is_on_family(self, problem: Problem, practice: Practice) -> bool:
        """The runs that it shows are the hidden recipe's; they are the problem's own."""
        runs = read_runs(seen(practice.prompt))
        return practice.well_formed and runs is not None and self.rules[problem.family] in agreeing(runs)

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """A file of it holds what it holds in the problem, or it writes the number that the problem asks for."""
        mine, files = asked(problem.prompt), asked(practice.prompt)
        if not practice.well_formed or mine is None or files is None:
            return False
        number = self.answer_of(problem, practice.solution).rpartition(" ")[2]
        sought = {str(rule.made(mine)) for rule in _rules_of(seen(problem.prompt))}
        return bool(files.items() & mine.items()) or number in sought

    def gold_practice(
        self, problem: Problem, count: int, rng: np.random.Generator, strict: bool
    ) -> tuple[Practice, ...]:
        """Other episodes of the hidden recipe after the problem's own runs; see `KnowsFamily`."""
        rule = self.rules[problem.family]
        return tuple(documents.draw_practice(rule, problem.prompt, rng, strict) for _ in range(count))


@functools.lru_cache(4096)
def _rules_of(shown: str) -> tuple[Rule, ...]:
    runs = read_runs(shown)
    return agreeing(runs) if runs else ()


def _left_by(rule: Rule, files: Mapping[str, int]) -> dict[str, int]:
    """The files after a recipe; none where it makes nothing of them."""
    made = rule.made(files)
    return {} if made is None else {**files, rule.target: made}


def _imagined(episode: str) -> dict[str, int]:
    """What an episode says to be in the files that it reads, before it writes to them; none for what is no number."""
    files, written = dict[str, int](), set[str]()
    for call, said in ((turn.call.split(" "), turn.said) for turn in transcript.turns(episode)[0]):
        match call:
            case ["write", name, _]:
                written.add(name)
            case ["read", name] if name not in written:
                files.setdefault(name, int(said) if said and len(said) == 1 and said in "123456789" else 0)
    return files


def _writes(episode: str) -> list[str]:
    """The calls that write, or try to."""
    return [turn.call for turn in transcript.turns(episode)[0] if turn.call.startswith("write ")]


def _difference(files: Mapping[str, int], wanted: Mapping[str, int]) -> str:
    """What is in one file, and should not be."""
    name = next(name for name in [*wanted, *files] if files.get(name) != wanted.get(name))
    if name not in files:
        return f"there is no file {name}"
    return f"{name} holds {files[name]}" + (f", not {wanted[name]}" if name in wanted else ", and should not be there")
