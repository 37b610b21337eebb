"""Prompts, log-probabilities and written answers of multiple choice are lm-evaluation-harness', on a random model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs import science_smollm2
from experiments.benchmarks import mmlu
from experiments.benchmarks.mmlu import Heard
from mass_jax.mass.actor import Actor
from mass_jax.models.pretrained import source
from mass_jax.study import setup
from mass_jax.study.config import read
from mass_jax.tasks.science import data
from mass_jax.tasks.science.form import Question
from tests.models.pretrained import byte_model

SUBJECTS = ("astronomy", "machine_learning")
ASKED = [
    data.Asked(
        Question(f"What is {i}?\n\n1 of them", (f"{i}", "x ", "y", "z"), subject.replace("_", " ")), "ABCD"[i], subject
    )
    for i in range(2)
    for subject in SUBJECTS
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    byte_model.write(path, context=1024)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    pytest.importorskip("lm_eval")
    pytest.importorskip("transformers")
    from lm_eval.models.huggingface import HFLM

    named = mmlu.named(str(folder))
    assert named == {"pretrained": str(folder)}
    return HFLM(device="cpu", dtype="float32", batch_size=3, max_length=1024, **named)


@pytest.mark.parametrize("answers", ["likelihood", "generation"])
def test_what_is_heard_is_the_harnesss(folder: Path, model: Any, tmp_path: Path, answers: str):
    config = science_smollm2.get_config()
    config.model.source, config.task.answers, config.lengths.solution = str(folder), answers, mmlu.WRITTEN
    config = read(config)
    method = setup.make_method(config)
    actor = Actor(source.load_params(str(folder), method.model), method, setup.make_domain(config))
    mine = mmlu.ours(actor, [data.problem(each, " ") for each in ASKED], batch=3)
    other = mmlu.in_order(ASKED, mmlu.theirs(model, mmlu.write_tasks(tmp_path, ASKED, [], answers), 0, False))
    assert [each.prompt for each in mine] == [each.prompt for each in other] and len(mine) == 4
    for ours, theirs in zip(mine, other, strict=True):
        np.testing.assert_allclose(ours.scores_S, theirs.scores_S, rtol=1e-5)
        assert (len(ours.scores_S), ours.answer) == (4 * (answers == "likelihood"), theirs.answer)
        assert ours.right == theirs.right


def test_a_row_counts_what_is_the_same():
    def heard(prompt: str, scores: list[float], answer: str, right: bool) -> Heard:
        return Heard(prompt, np.array(scores), answer, right)

    mine = [heard("a", [0.0, -1.0], "A", True), heard("b", [-2.0, -1.0], "B", False)]
    other = [heard("a", [-3.0, -4.0], "A", True), heard("c", [-1.0, -1.0], "A", True)]
    row = mmlu.compared(("text", "likelihood"), ASKED[:2], mine, other)
    # Among two letters of log-probabilities -2 and -1, the first has -1.313; of equal ones it has -0.693.
    assert row == ("text", "likelihood", "2", "1", "6.2e-01", "1", "50.0", "100.0")
    written = [each._replace(scores_S=np.array([])) for each in mine]
    assert mmlu.compared(("text", "generation"), ASKED[:2], written, written)[4:6] == ("–", "2")
