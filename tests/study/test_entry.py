"""The fields that a study's config need not name."""

import importlib
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from mass_jax.models.config import ModelConfig
from mass_jax.runtime.command_line import Default
from mass_jax.study import entry
from mass_jax.study.config import read

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__")


def get_config(name: str) -> ConfigDict:
    return importlib.import_module(f"configs.{name}").get_config()


@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_its_default_its_type_and_its_meaning(name: str):
    config = get_config(name)
    optional = entry.optional(config)
    assert optional["inner.problems_at_once"][:2] == (0, int)
    assert optional["plugins"][:2] == ((), tuple)
    assert optional["model.dtype"][:2] == (None, str) and optional["model.remat_keeps"][:2] == ((), tuple)
    assert ("task.held_out" in optional) == (config.task.name == "mathematics")
    assert ("model.rope_theta" in optional) == ("model.context" not in optional) == ("source" not in config.model)
    for field, default in optional.items():
        group, _, part = field.rpartition(".")
        fields = config[group] if group else config
        assert default.meaning or part in fields, f"nothing says what {field} is for"
        assert default.value is None or isinstance(default.value, default.kind)
        if part not in fields:
            fields[part] = default.value
    read(config)


def test_what_a_config_does_not_choose_has_no_optional_fields():
    config = get_config("demo")
    config.task.name = "arithmetics"
    del config.model
    optional = entry.optional(config)
    assert not [field for field in optional if field.startswith(("task.", "model."))]
    assert optional["generator.top_p"] == Default(1.0, float, "of their sampling; 1 for all tokens")
    assert set(entry.optional(ConfigDict())) == {"plugins"}


def test_defaults_of_a_model_are_the_models():
    optional = entry.optional(get_config("demo"))
    fields = {field.removeprefix("model."): one.value for field, one in optional.items() if field.startswith("model.")}
    assert fields == {name: getattr(ModelConfig, name) for name in fields} and fields["norm_eps"] == 1e-6
