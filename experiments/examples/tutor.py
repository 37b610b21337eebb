"""A tutor: asks problems, and practises with the learner on what they got wrong.

    python -m experiments.examples.tutor --run=runs/demo --session=runs/tutor

Answers are typed, a line each; an empty line says "I do not know", and the end of the input ends the lesson. Of a
problem that was missed the model writes practice, the scorer chooses, and the learner does the best of it before the
problem is asked again. The next lesson begins with what was missed in this one: the session in the folder knows it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from mass_jax.errors import InputError
from mass_jax.inference.adapted import Adapted
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import Options
from mass_jax.inference.sessions.policy import Policy
from mass_jax.inference.sessions.session import Session
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study.load import load_problems
from mass_jax.tasks.base import Problem

POLICY = Policy(decay=0.5, buffer=64)


def lesson(session: Session, problems: list[Problem], practice: int) -> str:
    """Asks every problem, and practises on those that are missed.

    Args:
      session: of the learner.
      problems: with their references.
      practice: the most examples that are practised before a problem is asked again.

    Returns:
      What came of it, in a sentence.
    """
    right = again = missed = 0
    try:
        for problem in problems:
            if asked(session, problem, "Problem"):
                right += 1
                continue
            found = session.adapt(problem.prompt, Options(seed=session.state.problems))
            for each in best(found, practice):
                asked(session, each, "Practice")
            solved = asked(session, problem, "Once more")
            again += solved
            if not solved:
                missed += 1
                session.remember(problem, problem.solution)
    except EOFError:
        print("\nThe lesson ends here.")
    return f"{right} right at once, {again} after practice, {missed} to be asked again next time."


def asked(session: Session, problem: Problem, title: str) -> bool:
    """Whether the learner's next line answers the problem; if not, they are told what does."""
    print(f"\n{title}: {problem.prompt}")
    print("> ", end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    right = session.learner.actor.task.grade([problem], [line.strip()])[0].correct
    # The reference of a problem that is asked again is not given away yet.
    print("Right." if right else "Not right." if title == "Problem" else f"Not right. The answer: {problem.solution}")
    return right


def best(found: Adapted, count: int) -> Iterator[Problem]:
    """The practice that counted most, as problems; the model's solutions are their references, and may be wrong."""
    used = sorted((each for each in found.practice if each.weight > 0), key=lambda each: -each.weight)
    for each in used[:count]:
        yield Problem(each.practice.prompt, each.practice.solution, (), -1, -1)


def missed_before(session: Session) -> list[Problem]:
    """What is to be asked again: solved problems that the session keeps."""
    kept = [each for each in session.state.buffer.kept if each.problem == each.prompt]
    return [Problem(each.prompt, each.solution, (), -1, -1) for each in dict.fromkeys(kept)]


def main() -> None:
    """A lesson."""
    values = flags.FLAGS
    enable_compilation_cache()
    run = Path(values.run)
    with Session(MassAdapter.load(run, values.arm), POLICY, values.session) as session:
        problems = load_problems(run, "validation")
        chosen = list(problems[values.first : values.first + values.problems])
        if not chosen:
            raise InputError(f"--first={values.first}: '{run}' has {len(problems)} validation problems; give less.")
        print(lesson(session, [*missed_before(session), *chosen], values.practice))


if __name__ == "__main__":
    flags.DEFINE_string("run", "runs/demo", "A trained run, whose validation problems are asked.")
    flags.DEFINE_string("arm", "mass", "Which of its arms.")
    flags.DEFINE_string("session", "runs/tutor", "The learner's folder.")
    flags.DEFINE_integer("problems", 5, "New problems of a lesson.", lower_bound=1)
    flags.DEFINE_integer("first", 0, "Which validation problem is the first of them.", lower_bound=0)
    flags.DEFINE_integer("practice", 2, "Examples before a problem is asked again.", lower_bound=0)
    program.run(main)
