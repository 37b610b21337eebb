r"""An agent that practises before its task: round after round, until its answer settles.

    python -m experiments.examples.agent --run=runs/demo --problem="f7,8,5 f5,10,8 f0,3,10 3>4 4>6 2>5 ? 9 6"
    python -m experiments.examples.agent --run=runs/demo --problems=20
    python -m experiments.examples.agent --run=runs/agent \
        --problem="a3 b5 c2 d9 > c 27 a7 b2 c6 d1 > c 7 a4 b8 c8 d6 > c 24 ? a6 b1 c9 d8"

Each round writes other practice for the task and goes on from the last update, with what was practised before; the
guard's drift budget bounds all rounds together. Without --problem it is tried on validation problems, and graded. In a
domain with tools, as that of `configs/agent.py`, an answer is an episode, whose calls are answered while it is written.
"""

from pathlib import Path
from typing import NamedTuple

from absl import flags

from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import Options
from mass_jax.inference.sessions.policy import Policy
from mass_jax.inference.sessions.session import Session
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study.load import load_problems
from mass_jax.tasks.base import Task, UsesTools

POLICY = Policy(decay=0.9, buffer=64)


class Practised(NamedTuple):
    """What came of a task.

    Attributes:
      at_once: the base's answer.
      once: after one update.
      answer: after all rounds.
      rounds: how many there were.
      refused: in how many of them the guard refused the update.
    """

    at_once: str
    once: str
    answer: str
    rounds: int
    refused: int


def practise(adapter: MassAdapter, problem: str, most: int, settled: int) -> Practised:
    """Practises for a task, and answers it.

    Args:
      adapter: the model.
      problem: the task's text.
      most: rounds.
      settled: so many rounds in a row with one answer are enough.
    """
    with Session(adapter, POLICY) as session:
        answers, before = list[str](), ""
        while len(answers) < most and not (len(answers) >= settled and len({*answers[-settled:]}) == 1):
            found = session.adapt(problem, Options(seed=len(answers)))
            answers.append(found.answer)
            before = found.answer_before
        return Practised(before, answers[0], answers[-1], len(answers), session.state.refused)


def shown(task: Task, answer: str) -> str:
    """An answer; an episode with tools as lines, a call each, with what they said behind it."""
    if not isinstance(task, UsesTools):
        return answer
    return "".join(("\n  " if each.own else " ") + each.text.strip() for each in task.pieces(answer))


def main() -> None:
    """One task, or a few that are graded."""
    values = flags.FLAGS
    enable_compilation_cache()
    adapter = MassAdapter.load(values.run, values.arm)
    if values.problem:
        found = practise(adapter, values.problem, values.rounds, values.settled)
        answers = {"at once": found.at_once, "after one round": found.once, f"after {found.rounds}": found.answer}
        for name, answer in answers.items():
            print(f"{name}: {shown(adapter.learner.actor.task, answer)}")
        return
    problems = list(load_problems(Path(values.run), "validation"))[: values.problems]
    done = [practise(adapter, problem.prompt, values.rounds, values.settled) for problem in problems]
    for name in ("at_once", "once", "answer"):
        verdicts = adapter.learner.actor.task.grade(problems, [getattr(each, name) for each in done])
        print(f"{name}: {sum(each.correct for each in verdicts)} of {len(problems)} right")
    print(f"rounds: {sum(each.rounds for each in done)}, of which {sum(each.refused for each in done)} were refused")


if __name__ == "__main__":
    flags.DEFINE_string("run", "runs/demo", "A trained run.")
    flags.DEFINE_string("arm", "mass", "Which of its arms.")
    flags.DEFINE_string("problem", "", "The task; without one, validation problems.")
    flags.DEFINE_integer("problems", 20, "Validation problems.", lower_bound=1)
    flags.DEFINE_integer("rounds", 6, "Rounds of practice, at most.", lower_bound=1)
    flags.DEFINE_integer("settled", 2, "Rounds in a row with one answer that are enough.", lower_bound=1)
    program.run(main)
