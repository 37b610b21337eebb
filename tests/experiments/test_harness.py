"""lm-evaluation-harness on an adapted model: the same answers and likelihoods as our own evaluation's."""

import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import smollm2_135m
from experiments.evaluate import Evaluator
from mass_jax.mass.arms import METHODS
from mass_jax.mass.outer import TrainState
from mass_jax.training.errors import InputError
from mass_jax.training.study import Study, open_study, train_arm
from tests.models.pretrained import byte_model

pytest.importorskip("lm_eval")
from lm_eval.api.instance import Instance

from experiments import harness
from experiments.harness import AdaptedLM


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    """Operators on a tiny model of single bytes."""
    folder = tmp_path_factory.mktemp("model")
    byte_model.write(folder)
    config = smollm2_135m.get_config()
    config.model.source = str(folder)
    config.task.train_problems, config.task.validation_problems, config.task.test_problems = 30, 10, 5
    config.task.data_dir = str(folder / "data")
    config.lora.rank = 2
    config.lengths.prompt, config.lengths.practice, config.lengths.check = 80, 56, 56
    config.inner.learning_rate = 5.0
    config.train.steps, config.train.problems = 1, 2
    config.evaluate.batch = 3
    return config.lock()


@pytest.fixture(scope="module")
def study(config: ConfigDict, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return open_study(config, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def state(study: Study) -> TrainState:
    return train_arm(study, "mass_gold")


def evaluated(study: Study, state: TrainState, arm: str):
    evaluator = Evaluator(study, list(study.splits.test), study.config.seed + 1)
    return evaluator, evaluator.run(METHODS[arm], state.params, state.eta)


def requests(kind: str, rows: list[tuple]) -> list[Instance]:
    return [Instance(kind, {}, row, i) for i, row in enumerate(rows)]


@pytest.mark.parametrize("arm", ["mass_gold", "base", "ttt_nn"])
def test_answers_are_our_evaluations(study: Study, state: TrainState, arm: str):
    evaluator, outcomes = evaluated(study, state, arm)
    ours = [text for outcome in outcomes for text in outcome.texts][:5]
    asked = [(p.prompt, {"until": ["\n"], "do_sample": False, "temperature": 0}) for p in study.splits.test]
    texts = AdaptedLM(study, state, arm).generate_until(requests("generate_until", asked))
    assert texts == ours and any(texts)
    half = [(prompt, {"until": text[1:2] or "x"}) for (prompt, _), text in zip(asked, ours, strict=True)]
    cut = AdaptedLM(study, state, arm).generate_until(requests("generate_until", half))
    assert all(len(short) <= 1 or text[1] in text[:1] for short, text in zip(cut, ours, strict=True))


@pytest.mark.parametrize("arm", ["mass_gold", "base"])
def test_likelihoods_are_our_evaluations(study: Study, state: TrainState, arm: str):
    evaluator, outcomes = evaluated(study, state, arm)
    ours = evaluator.unfilled([outcome.log_likelihood_P for outcome in outcomes])
    # The reference with its end, and a second choice for some: each problem is adapted to once.
    asked = [(p.prompt, f"{p.solution}\n") for p in study.splits.test]
    more = [(p.prompt, "7\n") for p in study.splits.test[1:3]]
    found = AdaptedLM(study, state, arm).loglikelihood(requests("loglikelihood", asked + more))
    means = [total / len(text) for (total, _), (_, text) in zip(found, asked, strict=False)]
    np.testing.assert_allclose(means, ours, rtol=1e-5)
    assert len(found) == 7 and all(total < 0 and not greedy for total, greedy in found)


def test_the_greedy_continuation_is_told(study: Study, state: TrainState):
    letters, told = [chr(i) for i in range(32, 127)], []
    # Without a say for all other bytes, what is likeliest can be written.
    known = np.array([study.domain.tokenizer.encode(letter)[0] for letter in letters])
    rows = np.isin(np.arange(len(state.params["embed"])), known)[:, None]
    params = state.params | {"embed": state.params["embed"] * rows}
    model = AdaptedLM(study, state._replace(params=params), "mass_gold")
    prompts = [problem.prompt for problem in study.splits.test]
    texts = model.generate_until(requests("generate_until", [(prompt, {}) for prompt in prompts]))
    asked = [(prompt, letter) for prompt in prompts for letter in letters]
    found = np.array(model.loglikelihood(requests("loglikelihood", asked))).reshape(len(prompts), len(letters), 2)
    for text, row in zip(texts, found, strict=True):
        assert np.exp(row[:, 0]).sum() < 1
        best = int(np.argmax(row[:, 0]))
        assert row[:, 1].sum() == row[best, 1] == (text[:1] == letters[best]), "the likeliest, or no letter"
        told.append(row[best, 1])
    assert any(told)


def test_an_update_moves_likelihoods(study: Study, state: TrainState):
    asked = requests("loglikelihood", [(p.prompt, p.solution) for p in study.splits.test])
    adapted, plain = (AdaptedLM(study, state, arm).loglikelihood(asked) for arm in ("ttt_nn", "base"))
    assert all(abs(a - b) > 1e-3 for (a, _), (b, _) in zip(adapted, plain, strict=True))


def test_a_local_json_task(study: Study, state: TrainState, tmp_path: Path):
    path = harness.write_task(study, tmp_path / "task")
    _, outcomes = evaluated(study, state, "mass_gold")
    texts = [text for outcome in outcomes for text in outcome.texts][:5]
    # An untrained model answers nothing right: two of five references are made its answers.
    rows = [json.loads(line) for line in (path.parent / "test.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == [p.prompt for p in study.splits.test]
    for row, text in list(zip(rows, texts, strict=True))[:2]:
        row["solution"] = text
    (path.parent / "test.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    results = harness.evaluate(study, state, "mass_gold", [str(path)])
    assert results["operators_test"]["exact_match,none"] == 0.4


@pytest.mark.parametrize("arm", ["oracle_gold_family", "oracle_filter", "mass_other_problem", "nobody"])
def test_an_arm_that_needs_more_than_a_prompt_is_refused(study: Study, state: TrainState, arm: str):
    with pytest.raises(InputError, match=f"--arm={arm} cannot answer .*: choose from base, "):
        AdaptedLM(study, state, arm)


def test_what_cannot_be_done_is_a_sentence(study: Study, state: TrainState):
    model = AdaptedLM(study, state, "base")
    prompt = study.splits.test[0].prompt
    with pytest.raises(InputError, match="sampled answers"):
        model.generate_until(requests("generate_until", [(prompt, {"do_sample": True})]))
    with pytest.raises(InputError, match="perplexity"):
        model.loglikelihood_rolling(requests("loglikelihood_rolling", [(prompt,)]))
    with pytest.raises(InputError, match="there is no task file nowhere.yaml"):
        harness.evaluate(study, state, "base", ["nowhere.yaml"])
