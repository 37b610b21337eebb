"""A study of mathematics on a pretrained model: the same program as the demo's, by config alone."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import mass_jax
from configs import gsm8k_smollm2, smoke
from experiments import evaluate
from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.parallel import mesh, partition
from mass_jax.reporting.report import write_report
from mass_jax.runtime.results import merge
from mass_jax.study import study as study_module
from mass_jax.study.arms import DIRECT
from mass_jax.study.config import read
from mass_jax.study.evaluate import base_state, write_results
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.study import base_folder, check_base, load_arm, method_for, open_study, train_arm
from mass_jax.tasks.mathematics import fetch
from tests.models.pretrained import byte_model

# With single bytes as tokens, the data set's own prompts would be most of the test's time.
EXAMPLE = "Problem:\n1 + 1\nSolution:\n\\boxed{2}"
PROMPTS = f"""
## system

## solve

{{problem}}

## synthesise

{{problem}}

## solve, base model

{EXAMPLE}

Problem:
{{problem}}
Solution:

## synthesise, base model

{EXAMPLE}

Problem:
{{problem}}
Related problem:
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint with a tokenizer of single bytes."""
    path = tmp_path_factory.mktemp("model")
    byte_model.write(path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Problems of one's own."""
    path = tmp_path_factory.mktemp("data")
    for split, start in (("train", 0), ("test", 50)):
        rows = [
            {"question": f"Add {n} and {n * n}.", "solution": f"It is {n + n * n}.", "answer": str(n + n * n)}
            for n in range(start, start + 8)
        ]
        rows += [{"question": "Too long: " + "x" * 3000, "solution": "1", "answer": "1"}]
        (path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def config(model: Path, data: Path, tmp_path: Path) -> ConfigDict:
    config = gsm8k_smollm2.get_config()
    config.task.dataset, config.task.source, config.task.data_dir = "jsonl", str(data), str(tmp_path / "tfds")
    config.task.validation_problems, config.task.test_problems = 0, 5
    prompts = tmp_path / "prompts.md"
    prompts.write_text(PROMPTS)
    config.task.prompts, config.task.shots = str(prompts), 0
    config.model.source, config.model.context, config.model.loss_chunk = str(model), 512, 64
    lengths = {"prompt": 160, "solution": 40, "synthesis": 32, "practice": 200, "check": 200, "long_document": 200}
    config.lengths.update(lengths)
    config.lora.rank = 2
    config.generator.examples = 2
    config.train.steps, config.train.problems, config.train.save_every = 2, 2, 1
    config.train.microbatches = 2
    config.evaluate.batch = 3
    config.evaluate.skip = ("tt_ss_majority",)
    return config.lock()


@pytest.fixture
def enter() -> Iterator[Callable[..., Any]]:
    """Enters contexts that the test's end leaves."""
    with ExitStack() as stack:
        yield stack.enter_context


def files(folder: Path) -> dict[Path, int]:
    """All files, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_whole_study_runs(
    config: ConfigDict, tmp_path: Path, caplog: pytest.LogCaptureFixture, enter: Callable[..., Any]
):
    with config.unlocked():
        config.arms.mine = {"label": "My own", "train": {"mode": "gold", "kl_weight": 0.0}}
        config.arms.linear = {"scorer": {"kind": "linear"}, "train": {"practice": False}}
    study = enter(open_study(read(config), tmp_path / "run"))
    assert (len(study.splits.train), len(study.splits.test)) == (8, 5)
    assert study.method.model.width == 16
    assert study.domain.stops, "no chat template: prompted as a base model"
    before = files(study.workdir)
    with pytest.raises(InputError, match="'mass_gold' of .* is not trained: 0 of 2 steps are done. Train it first, by"):
        load_arm(study, "mass_gold")
    assert files(study.workdir) == before
    state = train_arm(study, "mass_gold")
    before = files(study.workdir)
    for again in (load_arm(study, "mass_gold"), train_arm(study, "mass_gold")):
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, again.params, state.params)))
    assert files(study.workdir) == before, "a trained arm is only read"
    states = {"base": base_state(study), "mass_gold": state, "mine": state}
    changed = jax.tree.map(lambda a, b: np.any(np.asarray(a) != b), states["mass_gold"].params, study.base)
    assert any(jax.tree.leaves(changed))
    merge(study.workdir, gate={"base": {"accuracy": 0.5}}, timing={"total_seconds": 1.0})
    results = json.loads(write_results(study, states).read_text())
    assert results["gate"] == {"base": {"accuracy": 0.5}} and results["timing"] == {"total_seconds": 1.0}, (
        "others' parts"
    )
    assert {"base", "base_ttt", "ttt_nn", "tt_ss", "mass_gold"} <= set(results["methods"])
    asked = records.loads((study.workdir / "problems.json").read_text())
    assert asked["family"] == [problem.family for problem in study.splits.test], "in the order of the verdicts"
    assert asked["difficulty"] == [problem.difficulty for problem in study.splits.test]
    # An arm of one's own has its row, its name, what it overrides, and is compared.
    assert results["methods"]["mine"] == results["methods"]["mass_gold"]
    assert {"mine-base", "mine-tt_ss"} <= set(results["paired"])
    assert results["labels"]["mine"] == "My own" and results["labels"]["mass_gold"] == "MASS-gold"
    assert results["meanings"]["mine"] == "trained with train.kl_weight = 0.0, train.mode = gold"
    assert results["meanings"]["base"] == "no update"
    assert results["arms"]["mine"] == {"overrides": {"train.mode": "gold", "train.kl_weight": 0.0}}
    assert results["headline"] == "mass_gold" and results["commit"] == results["environment"]["commit"]
    assert method_for(study, "mine") == method_for(study, "base") == study.method
    assert method_for(study, "linear").scorer.kind == "linear", "the scorer that it was trained with"
    assert results["controls"] == {}, "nobody knows a hidden family, and no problem shows examples"
    kept = study.workdir / "evaluation"
    # A model's answers are its own, whatever another evaluator has under its name.
    theirs = Evaluator(study, states | {"mass_gold": states["base"]}, study.splits.test, 0).run("mass_gold", DIRECT)
    ours, base = (Evaluator(study, states, study.splits.test, 0).run(name, DIRECT) for name in ("mass_gold", "base"))
    means = [float(np.mean(each[0].log_likelihood_P)) for each in (theirs, ours, base)]
    assert means[0] == means[2] != means[1]
    # A loaded model answers as the table does; and loading only reads.
    before = files(study.workdir)
    learner = mass_jax.load(study.workdir, "mass_gold")
    answers = learner.answers(study.splits.test)
    assert [answer.text for answer in answers] == json.loads((kept / "mass_gold.json").read_text())["answers"]
    assert all(len(answer.practice) == len(answer.weights) == 2 for answer in answers)
    assert learner.answers([]) == []
    plain, nearest = (mass_jax.load(study.workdir, arm, study.splits.train) for arm in ("base", "ttt_nn"))
    for arm, loaded in (("base", plain), ("ttt_nn", nearest)):
        found = [answer.text for answer in loaded.answers(study.splits.test)]
        assert found == json.loads((kept / f"{arm}.json").read_text())["answers"]
    (alone,) = plain.answers(study.splits.test[:1])
    assert alone.weights is None and plain.answer(study.splits.test[0].prompt) == alone.text
    with pytest.raises(InputError, match=r"takes \d+ tokens, more than lengths.prompt = 160: shorten it"):
        learner.answer("x" * 200)
    assert files(study.workdir) == before
    # Of a second evaluation only what is not there, damaged or stale is done, and the numbers are the same.
    assert {path.stem for path in kept.glob("*.json")} == set(results["methods"])
    (kept / "tt_ss.json").write_text((kept / "tt_ss.json").read_text().replace('"seconds": ', '"seconds": 1'))
    stale = kept / "base.json"
    stale.write_text(records.dumps(records.loads(stale.read_text()) | {"correct": [True] * 5}, {"parameters": "other"}))
    before = {path: path.stat().st_mtime_ns for path in kept.glob("*.json") if path.stem not in ("tt_ss", "base")}
    again = json.loads(write_results(study, states).read_text())
    assert {path: path.stat().st_mtime_ns for path in before} == before and (kept / "tt_ss.json").exists()
    assert "tt_ss.json' is damaged" in caplog.text and "base.json' is of another origin" in caplog.text
    assert all(again[part] == results[part] for part in ("methods", "paired", "log_likelihood"))
    # Updating on other training problems moves the likelihood of the reference; the un-adapted arms do not.
    likelihood = results["log_likelihood"]
    assert likelihood["base_ttt"] != likelihood["base"] != likelihood["ttt_nn"]
    assert set(results["synthesis"]["before"]) == {"well_formed", "leak", "distinct", "distinct_2"}
    gain = results["paired_log_likelihood"]["base_ttt-base"]["diff"]
    assert gain == pytest.approx(likelihood["base_ttt"] - likelihood["base"])
    page = write_report(study.workdir).read_text()
    assert (
        "My own" in page
        and "TTT-NN" in page
        and "Log-likelihood of the reference solutions" in page
        and "MASS-gold solves" in page
    )

    # Other settings are refused even where config.json is gone, and it does not come back as theirs.
    (study.workdir / "config.json").unlink()
    config.inner.learning_rate = 0.125
    with (
        pytest.raises(InputError, match=r"another config, differing in:\n  inner.learning_rate: .* 0.125 \(now\)"),
        open_study(read(config), study.workdir),
    ):
        pass
    assert not (study.workdir / "config.json").exists()


def test_data_or_weights_that_cannot_be_had_are_a_sentence(
    config: ConfigDict, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def offline(*_: object) -> None:
        raise ConnectionError("train.jsonl cannot be fetched")

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "files", offline)
        with pytest.raises(InputError, match="train.jsonl cannot be fetched"), open_study(read(config), tmp_path / "a"):
            pass
    shutil.copytree(model, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    config.model.source = str(tmp_path / "model")
    with pytest.raises(InputError, match="model.safetensors cannot be read"), open_study(read(config), tmp_path / "b"):
        pass


def test_an_unknown_task_or_model_is_a_sentence(config: ConfigDict, tmp_path: Path):
    with config.unlocked():
        config.task.name = "poetry"
    with (
        pytest.raises(InputError, match="task.name = 'poetry' is not one of arithmetic, candidates, operators, progr"),
        open_study(read(config), tmp_path / "a"),
    ):
        pass
    config.task.name = "mathematics"
    config.metagrad.name = "adjiont"
    with pytest.raises(InputError, match="adjiont"), open_study(read(config), tmp_path / "a"):
        pass
    assert not (tmp_path / "a").exists(), "a typo does not claim the directory"
    config.metagrad.name = "adjoint"
    config.model.source = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="there is no model at"), open_study(read(config), tmp_path / "b"):
        pass


def test_an_evaluation_pretrains_no_base(tmp_path: Path):
    config = smoke.get_config().lock()
    with config.unlocked():
        config.arms = ConfigDict()
    workdir = tmp_path / "run"
    with pytest.raises(InputError, match="There is no base in .*: put it back, or pretrain it by"):
        evaluate.main(read(config), workdir)
    assert list(tmp_path.iterdir()) == [], "nothing is written"
    (base_folder(read(config), workdir) / "0").mkdir(parents=True)
    check_base(read(config), workdir)


def test_a_study_leaves_the_mesh_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # One device is no mesh: two of it stand for two studies', and no data is made.
    meshes = iter([jax.make_mesh((1, 1, 1), partition.AXES) for _ in range(3)])
    monkeypatch.setattr(mesh, "make", lambda wanted: next(meshes))
    monkeypatch.setattr(study_module, "_opened", lambda *_: jax.sharding.get_mesh())
    config = smoke.get_config().lock()
    with open_study(read(config), tmp_path / "a") as a:
        assert partition.active()
        with pytest.raises(ValueError, match="its own"), open_study(read(config), tmp_path / "b") as b:
            assert jax.sharding.get_mesh() is b
            raise ValueError("its own")
        assert jax.sharding.get_mesh() is a
    assert not partition.active()
    with open_study(read(config), tmp_path / "c"):
        assert partition.active()
    assert not partition.active()
