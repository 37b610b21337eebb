"""The command line of every main: help, and sentences for what cannot be meant."""

import ast
from pathlib import Path

import pytest

from tests import programs

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "tests" / "study" / "earlier" / "run"
MAINS = [path for path in sorted((ROOT / "experiments").rglob("*.py")) if '"__main__"' in path.read_text()]
HAVE_OWN_PARSER = {"compare_runs", "pod_local", "ours", "theirs"}
"""One takes words without names, another hands on to another main what it does not know, two no person starts."""
LLAMA = ["--config=configs/llama31_8b.py", "--workdir=runs/none"]
DEMO = ["--config=configs/arithmetic.py", "--workdir=runs/none"]
CASES = {
    ("adapt", "--help"): (0, "--model MODEL", "the directory of a run, or a model"),
    ("adapt", "1 + 1"): (2, "required: --model. mass-adapt --help shows the options."),
    ("adapt", "--model=/nowhere", "1 + 1"): (2, "'/nowhere' is no directory of a run, nor a model"),
    ("train", "--help"): (0, "--config: Config file", "--workdir:", "--arm: Which of config.arms to train"),
    ("demo", "--help", DEMO[0]): (0, "--config.train.steps=50 ", "outer steps", "--config.arms.mass.train.mode='verif"),
    ("evaluate", "-h", "--config=configs/smoke.py"): (0, "--config.train.steps=3 ", "outer steps", "answered at once"),
    ("gate", "--help"): (0, "--config", "--workdir"),
    ("export", "--help"): (0, "--workdir", "--[no]merged: The whole model, not the adapter"),
    ("export", "--workdir={tmp}/none", "--out={tmp}/out"): (2, "there is no run in", "Give the workdir of a run."),
    ("reproduce", "--help"): (0, "--only", "--[no]full", "--[no]list", "--config"),
    ("reproduce", "--config=configs/reproduce.py", "--workdir={tmp}/suite", "--list", "--only=demo_0,generator"): (
        0,
        "| demo_0 | to do | 20:00 | 0:00 |",
        "| generator | to do | 1:15:00 |",
    ),
    ("reproduce", "--config=configs/reproduce.py", "--workdir=runs/none", "--only=demos"): (2, "Did you mean 'demo'?"),
    ("reproduce", "--config=configs/demo.py", "--workdir=runs/none"): (2, "seeds"),
    ("benchmarks.plan_pod", "--helpfull"): (0, "--topology", "--config"),
    ("benchmarks.cost_model", "--help"): (0, "--chip", "--config"),
    ("benchmarks.estimators", "--help"): (0, "--sizes"),
    ("benchmarks.estimators_gpt2", "--help"): (0, "--tokens"),
    ("benchmarks.hyper_cleaning", "--help"): (0, "--corrupted"),
    ("benchmarks.grading_audit", "--help"): (0, "--grader"),
    ("benchmarks.grading_audit",): (2, "--data is missing: give a folder"),
    ("benchmarks.sampling", "--help"): (0, "--batches"),
    ("benchmarks.sessions", "--help"): (0, "--many", "collapse"),
    ("benchmarks.sessions", "--length=2"): (2, "--length=2", "4"),
    ("examples.tutor", "--help"): (0, "--practice", "what they got wrong"),
    ("examples.agent", "--rounds=0"): (2, "--rounds=0", "positive"),
    ("benchmarks.peers", "--help"): (0, "--rounds"),
    ("attack", "--problems=500", "--workdir={run}"): (
        2,
        "--problems=500 and --held=16 are 516 problems, and the run has 12 to test with: give smaller ones.",
    ),
    ("attack", "--problems=5000"): (2, "--problems=5000", "1024"),
    ("compare_runs", "--help"): (
        0,
        "usage: python -m experiments.compare_runs",
        "workdirs of two finished runs",
        "2 where there is nothing to compare",
    ),
    ("compare_runs", "{tmp}", "{tmp}"): (2, "holds no finished run. Give the workdirs of two"),
    ("benchmarks.pod_local", "--help"): (0, "usage: python -m experiments.benchmarks.pod_local", "--kills"),
    ("benchmarks.pod_local", "--workdir=README.md"): (2, "--workdir=README.md is not an empty directory"),
    ("benchmarks.pod_local", "--workdir={tmp}/pod", "--devices=0"): (2, "--devices are at least 1"),
    ("train", *DEMO, "--flagfile=/nowhere"): (2, "/nowhere"),
    ("train", *DEMO, "mass"): (2, "'mass' is not a flag: write --name=value"),
    ("train", *DEMO, "--arm=mas"): (2, "there is no arm 'mas' in config.arms"),
    ("train", *DEMO, "--profile=-1"): (2, "--profile=-1", "non-negative"),
    # As README.md says it.
    ("train", "--config=configs/demo.py", DEMO[1], "--config.train.solutions=16", "--arm=solver_grpo"): (
        2,
        "--config.train.solutions=16 would change nothing: solver_grpo has 27 in config.arms",
        "--config.arms.solver_grpo.train.solutions=16",
    ),
    ("train", *DEMO, "--config.nonsense=1"): (2, "has no field 'nonsense'"),
    # A field that the file does not name.
    ("train", *DEMO, "--config.inner.problems_at_once=-1"): (2, "inner.problems_at_once = -1: give 0 or more."),
    # What is wrong is the one field that says so.
    ("train", *DEMO, "--config.arms.mass.label=Mine", "--config.arms.mass.train.kl_weight=-0.5"): (
        2,
        "in config.arms.mass: train.kl_weight = -0.5: give 0 or more.",
    ),
    ("train", *DEMO, "--config.targets.minutes=-0.5"): (2, "targets.minutes = -0.5: give more than 0."),
    ("train", *DEMO, "--config.arms.mass.task.seed=3"): (2, "has no field 'arms.mass.task.seed'"),
    ("train", *DEMO, "--config.plugins=nowhere.at_all"): (2, "plugins: the module 'nowhere.at_all' cannot be imported"),
    ("train", *DEMO, "--config.plugins=3"): (2, "plugins.0 = 3: give a text."),
    ("train", *DEMO, "--config.train.steps=-3"): (2, "train.steps = -3: give 1 or more."),
    ("gate", *DEMO, "--config.metagrad.name=adjiont"): (2, "metagrad.name = 'adjiont'", "Did you mean 'adjoint'?"),
    ("demo", *DEMO, "--config.train.mode=verifer"): (2, "would change nothing"),
    ("evaluate", *DEMO, "--config.evaluate.batch=0", "--config.seed=-1"): (2, "evaluate.batch = 0", "seed = -1"),
    ("benchmarks.cost_model", *LLAMA, "--problems=-8"): (2, "--problems=-8", "positive"),
    ("benchmarks.cost_model", *LLAMA, "--problems=6"): (
        2,
        "6 problems cannot be split over data x fsdp x train.parts = 4: give a multiple.",
    ),
    ("benchmarks.cost_model", *LLAMA, "--mesh=1x4"): (2, "--mesh=1x4: give data x fsdp x tensor, such as 1x4x4"),
    ("benchmarks.cost_model", *LLAMA, "--config.train.steps=0"): (2, "train.steps = 0: give 1 or more."),
    ("benchmarks.plan_pod", *LLAMA, "--mesh=1x4x0"): (2, "give data x fsdp x tensor"),
    ("benchmarks.plan_pod", *LLAMA, "--topology=v9z:4x4"): (
        2,
        "--topology=v9z:4x4 is not a topology of v5e, v5p, v6e: try v5e:4x4.",
    ),
    ("benchmarks.plan_pod", *LLAMA, "--problems=8,-8"): (2, "give whole numbers from 1"),
    ("benchmarks.plan_pod", *LLAMA, "--config.seed=-1"): (2, "seed = -1: give 0 or more."),
    ("benchmarks.estimators", "--sizes=smal"): (2, "--sizes", "'smal' is not one of", "Did you mean 'small'?"),
    ("benchmarks.estimators", "--steps=0"): (2, "--steps", "give whole numbers from 1"),
    ("benchmarks.estimators", "--estimators="): (2, "give some of adjoint"),
    ("benchmarks.estimators_gpt2", "--tokens=128,2048"): (2, "--tokens", "from 2 to 1024"),
    ("benchmarks.estimators_gpt2", "--estimators=adjiont"): (2, "Did you mean 'adjoint'?"),
    ("benchmarks.hyper_cleaning", "--estimators=adjont"): (2, "'adjont' is not one of", "Did you mean 'adjoint'?"),
    ("benchmarks.hyper_cleaning", "--corrupted=2"): (2, "--corrupted=2"),
    ("benchmarks.sampling", "--batches=0"): (2, "--batches"),
    ("benchmarks.sampling", "--model=/nowhere", "--workdir={tmp}"): (2, "there is no model at '/nowhere'"),
    ("benchmarks.pretrained", "--help"): (0, "--texts"),
    ("benchmarks.pretrained", "--model=/nowhere", "--workdir={tmp}"): (2, "there is no model at '/nowhere'"),
    ("benchmarks.wordings", "--help"): (0, "--prompts", "--config"),
    ("benchmarks.wordings", *DEMO): (2, "asks a pretrained model problems of mathematics: give a config of one."),
    ("benchmarks.fuzz", "--count=0"): (2, "--count=0", "positive"),
    ("benchmarks.code_grading",): (2, "there is nothing to grade: give --mbpp, --human_eval or both."),
    ("benchmarks.mmlu", *DEMO): (
        2,
        "asks a pretrained model questions of science: give a config of them.",
    ),
    ("benchmarks.mmlu", "--shots=6"): (2, "--shots=6"),
    ("benchmarks.retraining", "--help"): (0, "--problems", "one of each family"),
    ("benchmarks.retraining", "--run={tmp}/none"): (2, "there is no run in", "Give the workdir of a run."),
    ("benchmarks.jails", "--workers=0"): (2, "--workers=0", "positive"),
    ("benchmarks.peers", "--sze=small"): (2, "Unknown command line flag 'sze'"),
}
SHARED = ("experiments.benchmarks.problems", "mass_jax.reporting.estimators", "mass_jax.study.evaluate")


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], tuple[int, str]]:
    tmp = tmp_path_factory.mktemp("mains")
    forks = programs.Forks(tmp, *SHARED)
    found = {}
    for case in CASES:
        name, *words = (word.replace("{tmp}", str(tmp)).replace("{run}", str(RUN)) for word in case)
        done = forks.run(f"experiments.{name}", *words)
        found[case] = done.returncode, done.stdout + done.stderr
    forks.close()
    return found


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_help_is_shown_and_mistakes_are_sentences(ends: dict, case: tuple[str, ...]):
    (status, text), (wanted, *words) = ends[case], CASES[case]
    assert status == wanted, text
    assert all(word in text for word in words) and "Traceback" not in text, text
    assert not (ROOT / "runs" / "none").exists(), "nothing is written before all is checked"


@pytest.mark.parametrize("path", MAINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_main_goes_through_the_wrapper(path: Path):
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    wrapped = {"program.run", "command_line.run", "entry.run"} & set(calls)
    assert wrapped or path.stem in HAVE_OWN_PARSER, "InputErrors of this main end in a traceback"
