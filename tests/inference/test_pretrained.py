"""Models without a run: uniform weights, words of the user's own, and sentences for what is neither run nor model."""

import json
from pathlib import Path

import numpy as np
import pytest

from mass_jax import InputError, MassAdapter, Options
from mass_jax.inference import pretrained
from mass_jax.inference.adapter import Event
from mass_jax.tasks.base import Practice
from mass_jax.tasks.mathematics.task import MathematicsTask
from tests.inference.conftest import RUN
from tests.models.pretrained import byte_model

PROMPTS = Path(__file__).with_name("own_prompts.md")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    byte_model.write(path, context=1024)
    return path


@pytest.fixture(scope="module")
def adapter(folder: Path) -> MassAdapter:
    return MassAdapter.load(folder, prompts=PROMPTS)


def test_a_model_adapts_with_uniform_weights(adapter: MassAdapter, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """What random weights write is malformed; here all but the last of it is read otherwise."""
    examples = iter([Practice("2 + 3", "\\boxed{5}", True), Practice("4", "\\boxed{4}", True), Practice("", "", False)])
    monkeypatch.setattr(MathematicsTask, "parse", lambda *_: next(examples))
    told: list[Event] = []
    found = adapter.adapt("1 + 4", watch=told.append)
    assert found.updated and found.model == str(folder)
    assert [(each.weight, each.left_out) for each in found.practice] == [(1, ""), (1, ""), (0, "malformed")]
    assert found.gate == 1 and len(found.losses) == 1 and found.losses[0] > 0
    assert max(float(np.abs(leaf["b"]).max()) for leaf in found.adapter.values()) > 0
    assert [list(event.tokens) for event in told if event.shown] == [[phase.tokens] for phase in found.phases]


def test_without_well_formed_practice_the_model_answers(adapter: MassAdapter):
    found = adapter.adapt("1 + 4", Options(seed=3))
    assert not found.updated and found.answer == found.answer_before and len(found.practice) == 3
    assert found.why == "none of its practice may count"
    with pytest.raises(InputError, match=r"takes \d+ tokens, more than lengths.prompt = 448: shorten it"):
        adapter.adapt("1 + " * 200)


def test_it_is_asked_in_the_words_of_the_prompts(adapter: MassAdapter, folder: Path):
    own = adapter.learner.actor.task.solve_prompt("1 + 4")
    assert own == "Problem:\n1 + 1\nSolution:\n\\boxed{2}\n\nProblem:\n1 + 4\nSolution:\n"
    assert "A baker fills" in MassAdapter.load(folder).learner.actor.task.solve_prompt("1 + 4")
    assert MassAdapter.load(folder, domain="operators").learner.actor.method.lengths.solution == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"model": "/nowhere"}, "'/nowhere' is no directory of a run, nor a model: there is no model at '/nowhere'"),
        ({"model": "~no_such_user/x"}, "'~no_such_user/x' is no directory of a run, nor a model"),
        ({"model": "1 + 4 " * 99}, "is no directory of a run, nor a model"),
        ({"model": "package:none"}, "no model is known in the package 'none'"),
        ({"model": 5}, "model = 5 is no name"),
        ({"arm": "mass"}, "arm = 'mass': .* is no directory of a run, and only a run has arms: give one, or"),
        ({"model": RUN, "domain": "operators", "prompts": PROMPTS}, "domain and prompts: the run .* has its own"),
        ({"domain": "arithmetic"}, "domain = 'arithmetic' is not one of mathematics, operators."),
        ({"domain": "operators", "prompts": PROMPTS}, "operators has words of its own"),
        ({"prompts": "none"}, "prompts = 'none': there are no prompts 'none': choose one of gsm8k"),
        ({"prompts": __file__}, "prompts = .* has no section '## system'"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(folder: Path, words: dict, sentence: str):
    with pytest.raises(InputError, match=sentence):
        MassAdapter.load(**{"model": folder} | words)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "neither a run nor a model in '.*': its config.json cannot be read"),
        ("[1]", "has neither the arms of a run nor the model_type of a model"),
        ("{", "its config.json cannot be read"),
        (json.dumps({"arms": {}}), "the run in '.*' has a config.json that does not fit"),
        (json.dumps({"architectures": ["MambaForCausalLM"]}), "is a MambaForCausalLM; supported are"),
    ],
)
def test_a_folder_is_what_its_config_says(tmp_path: Path, content: str | None, sentence: str):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=sentence):
        MassAdapter.load(tmp_path)


def test_a_model_with_too_short_a_context_is_a_sentence(tmp_path: Path):
    byte_model.write(tmp_path)
    with pytest.raises(InputError, match="too small for mathematics: the longest sequence of 672 tokens exceeds"):
        MassAdapter.load(tmp_path)


def test_the_settings_are_those_of_the_configs():
    """Both are tuned there, and `configs` is not in the wheel."""
    from configs import gsm8k_smollm2, smollm2_135m

    for config in (gsm8k_smollm2.get_config(), smollm2_135m.get_config()):
        settings = pretrained.SETTINGS[config.task.name]
        assert (settings.context, settings.loss_chunk) == (config.model.context, config.model.loss_chunk)
        for group in ("lengths", "generator", "inner", "lora"):
            for name, value in vars(getattr(settings, group)).items():
                assert config[group].get(name, value) == value, f"{group}.{name}"
