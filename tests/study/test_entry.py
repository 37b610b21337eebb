"""The fields that a study's config can have, for the command line."""

import functools
import importlib
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from mass_jax.models.config import ModelConfig
from mass_jax.runtime.command_line import Field
from mass_jax.study import entry
from mass_jax.study.config import read
from tests.studies import NAMES

ROOT = Path(__file__).resolve().parents[2]


def get_config(name: str) -> ConfigDict:
    return importlib.import_module(f"configs.{name}").get_config()


@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_its_default_its_type_and_its_meaning(name: str):
    config = get_config(name)
    known = entry.known(config)
    assert known["inner.problems_at_once"][:2] == (0, int) and known["targets.minutes"][:2] == (None, float)
    assert known["plugins"][:2] == ((), tuple)
    assert known["model.dtype"][:2] == (None, str) and known["model.remat_keeps"][:2] == ((), tuple)
    assert ("task.held_out" in known) == (config.task.name == "mathematics")
    assert ("model.rope_theta" in known) == ("model.source" not in known) == ("source" not in config.model)
    for field, (default, kind, meaning) in known.items():
        *groups, part = field.split(".")
        fields = functools.reduce(lambda node, group: node[group], groups, config)
        assert meaning or part in fields, f"nothing says what {field} is for"
        assert default is None or isinstance(default, kind)
        if part not in fields and part != "label":
            fields[part] = default
    read(config)


def test_what_a_config_does_not_choose_has_no_fields():
    config = get_config("demo")
    config.task.name = "arithmetics"
    del config.model
    known = entry.known(config)
    assert not [field for field in known if field.startswith(("task.", "model."))]
    assert known["generator.top_p"] == Field(1.0, float, "of their sampling; 1 for all tokens")
    assert set(entry.known(ConfigDict())) == {"plugins", "seed"}


def test_the_fields_of_an_arm_are_its_label_what_it_overrides_and_what_is_asked_for():
    words = ["--config.arms.mass.train.kl_weight=0.5", "--config.arms.mass.task.seed=3", "--config.train.steps=3"]
    known = entry.known(get_config("arithmetic"), words)
    mine = {field: one[:2] for field, one in known.items() if field.startswith("arms.mass.")}
    wanted = {"label": str, "train.mode": str, "train.kl_weight": float}
    assert mine == {f"arms.mass.{field}": (None, kind) for field, kind in wanted.items()}


def test_defaults_of_a_model_are_the_models():
    known = entry.known(get_config("demo"))
    fields = {field.removeprefix("model."): one.default for field, one in known.items() if field.startswith("model.")}
    fields = {name: default for name, default in fields.items() if default is not None}
    assert fields == {name: getattr(ModelConfig, name) for name in fields} and fields["norm_eps"] == 1e-6
