"""The examples, as mains, on the run of an earlier version: two lessons of a tutor, and an agent that practises."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.examples import agent
from mass_jax.study.load import read_config
from mass_jax.tasks.agent.task import AgentTask
from mass_jax.tasks.arithmetic.task import ArithmeticTask
from mass_jax.tasks.base import Problem
from tests import programs

RUN = Path(__file__).parents[1] / "study" / "earlier" / "run"


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[programs.Forks]:
    made = programs.Forks(tmp_path_factory.mktemp("examples"), "mass_jax.inference.sessions.session")
    yield made
    made.close()


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return list(read_config(RUN).task.load("validation"))


def test_a_tutor_practises_on_what_was_missed(forks: programs.Forks, problems: list[Problem], tmp_path: Path):
    words = (f"--run={RUN}", f"--session={tmp_path}", "--problems=2", "--practice=1")
    # The first is right at once; the second is missed, its practice too, and it is missed again.
    first = forks.run("experiments.examples.tutor", *words, given=f"{problems[0].solution}\nno\nno\nno\n")
    assert first.returncode == 0, first.stderr
    assert first.stdout.index(problems[0].prompt) < first.stdout.index("Right.") < first.stdout.index("Not right.")
    asked, again = (m.start() for m in re.finditer(re.escape(f": {problems[1].prompt}\n"), first.stdout))
    assert "\nPractice: " in first.stdout[asked:again], "practice comes before it is asked again"
    assert problems[1].solution not in first.stdout[:again], "it is not given away"
    assert first.stdout.endswith("1 right at once, 0 after practice, 1 to be asked again next time.\n")
    kept = json.loads((tmp_path / "session.json").read_text())
    assert kept["problems"] == 1 and problems[1].solution in [each["solution"] for each in kept["buffer"]["kept"]]
    second = forks.run("experiments.examples.tutor", *words, given=f"{problems[1].solution}\n")
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith(f"\nProblem: {problems[1].prompt}\n"), "what was missed comes first"
    assert second.stdout.endswith(
        "The lesson ends here.\n1 right at once, 0 after practice, 0 to be asked again next time.\n"
    )


def test_an_agent_practises_until_its_answer_settles(forks: programs.Forks, problems: list[Problem]):
    one = forks.run("experiments.examples.agent", f"--run={RUN}", f"--problem={problems[0].prompt}", "--rounds=3")
    assert one.returncode == 0, one.stderr
    rounds = re.fullmatch(r"at once: .*\nafter one round: .*\nafter ([23]): .*\n", one.stdout)
    assert rounds, one.stdout
    graded = forks.run("experiments.examples.agent", f"--run={RUN}", "--problems=1", "--rounds=1")
    assert re.fullmatch(r"(\w+: [01] of 1 right\n){3}rounds: 1, of which 0 were refused\n", graded.stdout), (
        graded.stdout
    )


def test_an_episode_is_shown_a_call_a_line():
    episode = "a*d c = read a > 6 read q > error write c 3 > ok done"
    lines = ["", "  a*d c = read a > 6", "  read q > error", "  write c 3 > ok", "  done"]
    assert agent.shown(AgentTask(()), episode).split("\n") == lines
    assert agent.shown(ArithmeticTask(()), episode) == episode
