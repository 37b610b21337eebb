"""Rows of wordings are what the grader says of the texts, and are measured once."""

import numpy as np
import pytest

from configs import gsm8k_smollm2
from experiments.benchmarks import wordings
from mass_jax.mass.actor import Actor
from mass_jax.models.pretrained import source
from mass_jax.study import setup
from mass_jax.study.config import read
from mass_jax.tasks.base import Problem
from tests.models.pretrained import byte_model


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Actor:
    path = tmp_path_factory.mktemp("model")
    byte_model.write(path, context=2048)
    config = gsm8k_smollm2.get_config()
    config.model.source, config.model.context = str(path), 2048
    config.lengths.prompt, config.lengths.solution = 1536, 6
    config = read(config)
    method = setup.make_method(config)
    return Actor(source.load_params(str(path), method.model), method, setup.make_domain(config))


def test_a_row_is_what_the_grader_says(actor: Actor, monkeypatch: pytest.MonkeyPatch):
    problems = [Problem(f"What is {i} + 1?", f"#### {i + 1}", (), -1, i) for i in range(3)]
    row = wordings.measured(actor, problems, batch=2)
    assert (row["right"], row["problems"], row["solution"], len(row["texts"])) == (0, 3, 6, 3)
    assert row["cut"] == sum(len(actor.tokenizer.encode(each["text"])) >= 6 for each in row["texts"]) > 0
    expected = [len(actor.tokenizer.encode(actor.task.solve_prompt(problem.prompt))) for problem in problems]
    assert row["read"] == np.mean(expected)

    complete, asked = wordings.complete, []

    def answered(actor: Actor, adapters: None, prompts: list[str], *rest: object) -> object:
        asked.append(prompts)
        texts = [[str(int(prompt.rpartition("What is ")[2][0]) + 1)] for prompt in prompts]
        return complete(actor, adapters, prompts, *rest)._replace(texts=texts)

    monkeypatch.setattr(wordings, "complete", answered)
    row = wordings.measured(actor, problems, batch=2)
    assert [each["right"] for each in row["texts"]] == [True, True, True] and row["right"] == 3
    assert [len(prompts) for prompts in asked] == [2, 2] and asked[1][1] == asked[0][0], "filled up from the front"
    assert wordings.table([row | {"prompts": "x"}]).rows[0][:5] == ("x", "6", "3", "3", "100")
