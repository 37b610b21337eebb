"""A typed config keeps what was given: that is stored, compared and hashed, and what is optional is no part of it."""

import importlib
import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict
from pydantic import ValidationError

from configs import demo
from mass_jax.errors import InputError
from mass_jax.runtime.configs import to_json
from mass_jax.study.config import arm_config, from_json, read
from tests.studies import NAMES

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", NAMES)
def test_what_was_given_is_kept_as_runs_of_before_have_it(name: str):
    given = importlib.import_module(f"configs.{name}").get_config()
    config = read(given)
    assert to_json(config.given) == to_json(given) and to_json(from_json(json.loads(to_json(given))).given) == to_json(
        given
    )
    assert "problems_at_once" in given.inner or config.inner.problems_at_once == 0
    for arm, overrides in given.arms.items():
        merged = ConfigDict(given.to_dict())
        merged.update({group: fields for group, fields in overrides.to_dict().items() if group != "label"})
        assert to_json(arm_config(config, arm).given) == to_json(merged)


def test_an_arm_overrides_what_its_config_does_not_name():
    given = demo.get_config()
    given.arms.mass = {"model": {"remat": True}, "inner": {"problems_at_once": 2}}
    config = read(given)
    own = arm_config(config, "mass")
    assert own.model.remat and own.inner.problems_at_once == own.given["inner"]["problems_at_once"] == 2
    assert not config.model.remat and "remat" not in config.given["model"]
    given.arms.mass = {"inner": {"problems_at_onc": 2}}
    with pytest.raises(InputError, match=r"not exist: inner.problems_at_onc. Did you mean inner.problems_at_once\?"):
        read(given)


def test_a_typed_config_does_not_change():
    config = read(demo.get_config())
    for group in (config.pretrain, config.task):
        with pytest.raises(ValidationError, match="frozen"):
            group.seed = 3
    config.given["train"]["steps"] = 3
    assert config.train.steps == config.given["train"]["steps"] == json.loads(to_json(config.given))["train"]["steps"]
    assert list(config.arms) == sorted(config.arms), "the order of a ConfigDict, in which arms are trained"
