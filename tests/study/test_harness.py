"""lm-evaluation-harness on an adapted model: the same answers and likelihoods as our own evaluation's."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from configs import gsm8k_smollm2, smoke, smollm2_135m
from mass_jax.errors import InputError
from mass_jax.mass.state import TrainState
from mass_jax.study.arms import ARMS
from mass_jax.study.config import read
from mass_jax.study.evaluate import base_state
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.schema import Config
from mass_jax.study.study import Study, open_study, train_arm
from mass_jax.tasks.base import Problem
from tests.mass import tiny
from tests.models.pretrained import byte_model

pytest.importorskip("lm_eval")
from lm_eval.api.instance import Instance

from experiments import harness as main
from mass_jax.study import harness
from mass_jax.study.harness import AdaptedLM


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
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
    config.evaluate.batch, config.gate.problems = 3, 10
    return read(config)


@pytest.fixture(scope="module")
def study(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    with open_study(config, tmp_path_factory.mktemp("runs") / "run") as study:
        yield study


@pytest.fixture(scope="module")
def state(study: Study) -> TrainState:
    return train_arm(study, "mass_gold")


def evaluated(study: Study, state: TrainState, arm: str):
    states = {"base": base_state(study)._replace(params=state.params, eta=state.eta), "mass_gold": state}
    evaluator = Evaluator(study, states, study.splits.test, study.config.seed + 1)
    return evaluator, evaluator.run(ARMS[arm].model, ARMS[arm].recipe)


def test_a_row_that_its_domain_makes_impossible_is_a_sentence(study: Study, state: TrainState):
    assert AdaptedLM(study, state, "ttt_shown").study is study
    plain = study._replace(domain=dataclasses.replace(study.domain, task=tiny.DOMAIN.task))
    with pytest.raises(InputError, match="'ttt_shown' cannot answer here: .* no solved examples; choose from base, "):
        AdaptedLM(plain, state, "ttt_shown")
    with pytest.raises(InputError, match="problems of operators are not answered by what practice says; choose from"):
        AdaptedLM(study, state, "mass_read_off")


def test_the_main_refuses_such_a_row_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(main, "flags", SimpleNamespace(FLAGS=SimpleNamespace(arm="ttt_shown", tasks=[])))
    with pytest.raises(InputError, match="'ttt_shown' cannot answer here: .* no solved examples; choose from base, "):
        main.main(read(smoke.get_config()), tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
        row["solution"] = text.strip()
    (path.parent / "test.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    results = harness.evaluate(study, state, "mass_gold", [str(path)])
    assert results["operators_test"]["exact_match,none"] == 0.4


def test_references_score_one(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # GSM8K: solutions of several lines, judged by what they end in.
    values = gsm8k_smollm2.get_config()
    values.task.shots, values.model.source = 0, study.config.model.source
    config = read(values)
    problems = [
        Problem(f"How many are {n} and {n}?", f"Add them.\n{n} + {n} = {2 * n}\n#### {2 * n}", (), 0, -1)
        for n in (1, 2)
    ]
    mathematics = study._replace(config=config, splits=study.splits._replace(test=problems))
    path = harness.write_task(mathematics, tmp_path / "task")
    told = ["They are\n\nboth 1, so \\boxed{2}.", problems[1].solution]

    class Reference(harness.LM):
        loglikelihood = loglikelihood_rolling = None

        def generate_until(self, requests, disable_tqdm=False):
            return told

    monkeypatch.setattr(harness, "AdaptedLM", lambda *_: Reference())
    monkeypatch.setattr(Reference, "apply_chat_template", AdaptedLM.apply_chat_template, raising=False)
    monkeypatch.setattr(Reference, "tokenizer_name", "", raising=False)
    assert harness.evaluate(mathematics, None, "base", [str(path)])["mathematics_test"]["exact_match,none"] == 1.0
    told[1] = "#### 5"
    assert harness.evaluate(mathematics, None, "base", [str(path)])["mathematics_test"]["exact_match,none"] == 0.5


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ("oracle_gold_family", "needs more of a problem than its prompt"),
        ("oracle_filter", "needs more of a problem than its prompt"),
        ("mass_other_problem", "needs more of a problem than its prompt"),
        ("nobody", "there is no arm 'nobody'"),
    ],
)
def test_an_arm_that_needs_more_than_a_prompt_is_refused(study: Study, state: TrainState, arm: str, words: str):
    with pytest.raises(InputError, match=f"{words}: choose from base, "):
        AdaptedLM(study, state, arm)


def test_what_cannot_be_done_is_a_sentence(study: Study, state: TrainState):
    model = AdaptedLM(study, state, "base")
    prompt = study.splits.test[0].prompt
    with pytest.raises(InputError, match="sampled answers"):
        model.generate_until(requests("generate_until", [(prompt, {"do_sample": True})]))
    with pytest.raises(InputError, match="perplexity"):
        model.loglikelihood_rolling(requests("loglikelihood_rolling", [(prompt,)]))
    for tokens in (0, 49):
        with pytest.raises(InputError, match=f"max_gen_toks = {tokens} tokens, but .* 128 holds 1 to 48"):
            model.generate_until(requests("generate_until", [(prompt, {"max_gen_toks": tokens})]))
    with pytest.raises(InputError, match="of 129 tokens leaves no room"):
        model.loglikelihood(requests("loglikelihood", [(prompt, "1" * 129)]))
    chosen = AdaptedLM(study, state, "self_consistency")
    with pytest.raises(InputError, match="the arm 'self_consistency' chooses its answers .*: choose another arm"):
        chosen.loglikelihood(requests("loglikelihood", [(prompt, "1")]))
    with pytest.raises(InputError, match="begins every answer \\('The'\\)"):
        model.apply_chat_template([{"role": "assistant", "content": "The"}], add_generation_prompt=False)


def test_a_task_that_cannot_be_loaded_is_a_sentence(
    study: Study, state: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = tmp_path / "broken.yaml"
    broken.write_text("task: x\nprocess_results: !function nowhere.judge\n")
    with pytest.raises(InputError, match="broken.yaml cannot be loaded: .*nowhere"):
        harness.evaluate(study, state, "base", [str(broken)])
    # The harness's own tasks take ten seconds to look through: one stands for them.
    (tmp_path / "arc_easy.yaml").write_text("task: arc_easy\n")
    manager = harness.TaskManager
    monkeypatch.setattr(harness, "TaskManager", lambda include_defaults: manager(None, str(tmp_path), False))
    with pytest.raises(InputError, match="there is no task file arc_eazy, .* such as arc_easy"):
        harness.evaluate(study, state, "base", ["arc_eazy"])


@pytest.fixture(scope="module")
def hf(config: Config):
    """The harness's own model, of the same weights."""
    pytest.importorskip("transformers")
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=config.model.source, device="cpu", dtype="float32", batch_size=1, max_length=128)


@pytest.fixture(scope="module")
def base(study: Study) -> AdaptedLM:
    return AdaptedLM(study, base_state(study), "base")


def test_answers_are_those_of_hf(study: Study, base: AdaptedLM, hf):
    prompt, long = study.splits.test[0].prompt, "7@7=49\n" * 20
    rows = [
        (prompt, {"until": None}),
        (prompt, {"until": [], "max_gen_toks": 9}),
        (long, {"max_gen_toks": 9}),  # 140 tokens, of which the context holds 128 - 9
        (prompt, {"until": "\ufffd", "max_new_tokens": 20}),
    ]
    ours = base.generate_until(requests("generate_until", rows))
    rows[0][1]["max_gen_toks"] = study.method.lengths.solution
    settings = [each | {"until": [*(each.get("until") or []), "\n"]} for _, each in rows]
    told = [(context, each) for (context, _), each in zip(rows, settings, strict=True)]
    assert ours == hf.generate_until(requests("generate_until", told)) and len({*ours}) > 1


def test_likelihoods_are_those_of_hf(study: Study, base: AdaptedLM, hf):
    prompt = study.splits.test[0].prompt
    rows = [
        (prompt, "12"),
        (prompt, " 12"),
        (f"{prompt} \n", "7"),
        ("7@7=49\n" * 20, "3"),
        (prompt, "é"),
    ]
    ours = base.loglikelihood(requests("loglikelihood", rows))
    theirs = hf.loglikelihood(requests("loglikelihood", rows))
    np.testing.assert_allclose([x for x, _ in ours], [x for x, _ in theirs], rtol=1e-5)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_nothing_asked(base: AdaptedLM):
    assert base.generate_until([]) == base.loglikelihood([]) == []


def test_a_request_out_of_bounds_does_not_end_the_others(study: Study, state: TrainState):
    model, prompts = AdaptedLM(study, state, "mass_gold"), [p.prompt for p in study.splits.test]
    odd = ["7@7=49\n" * 20, "no operator at all", "half \ud83d a pair", ""]
    asked = [(prompt, {}) for prompt in prompts]
    texts = model.generate_until(requests("generate_until", [*asked, *((each, {}) for each in odd)]))
    assert texts[: len(prompts)] == model.generate_until(requests("generate_until", asked)) and len(texts) == 9
    found = model.loglikelihood(requests("loglikelihood", [(each, "1\ud83d") for each in odd]))
    assert np.isfinite([total for total, _ in found]).all()


def test_a_tokenizer_of_words_takes_what_it_has_words_for(study: Study, state: TrainState, monkeypatch):
    model, words = AdaptedLM(study, state, "base"), tiny.DOMAIN.tokenizer
    problem = tiny.make_problems(1)[0].prompt
    monkeypatch.setattr(model, "actor", model.actor.replace(domain=tiny.DOMAIN))
    assert model._can_write(problem) and not model._can_write("no word of it")
    cut = model._cut_from_the_left(" ".join([problem] * 9), 12)
    assert len(words.encode(cut)) == 11 and " ".join([problem] * 9).endswith(f" {cut}")
    head, tail = model._split(problem, problem, 40)
    assert head[1:] == tail == words.encode(problem) and model._split(problem, "no word", 40)[1] == []


def test_longer_answers_where_the_task_asks_for_them(study: Study, state: TrainState):
    asked = [(p.prompt, {"max_gen_toks": n}) for p in study.splits.test for n in (2, 6)]
    texts = AdaptedLM(study, state, "base").generate_until(requests("generate_until", asked))
    assert all(long.startswith(short.rstrip("\ufffd")) for short, long in zip(texts[::2], texts[1::2], strict=True))
    assert any(len(long) > 2 for long in texts[1::2])


def test_no_delimiter_stands_between_prompt_and_choices(study: Study, state: TrainState, tmp_path: Path):
    rows = [{"prompt": p.prompt, "choices": ["1", "2"]} for p in study.splits.test[:1]]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "parts.py").write_text("def choices(document):\n    return document['choices']\n")
    (tmp_path / "common.yaml").write_text(
        "dataset_path: json\ntest_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{prompt}}'\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}}}\n"
        "doc_to_target: 0\ndoc_to_choice: !function parts.choices\n"
    )
    (tmp_path / "task.yaml").write_text("include: common.yaml\ntask: choice\n")
    asked: list[tuple[str, str]] = []

    class Spy(AdaptedLM):
        def loglikelihood(self, requests, disable_tqdm=False):
            asked.extend(request.args for request in requests)
            return super().loglikelihood(requests)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "AdaptedLM", Spy)
        results = harness.evaluate(study, state, "base", [str(tmp_path / "task.yaml")])
    assert asked == [(rows[0]["prompt"], "1"), (rows[0]["prompt"], "2")] and "acc,none" in results["choice"]
