"""A run's directory belongs to one config."""

import json

import pytest
from ml_collections import ConfigDict, FrozenConfigDict

from mass_jax.training.workdir import (
    ABSENT,
    WorkdirError,
    config_diff,
    fingerprint,
    flatten,
    nearest,
    open_workdir,
    to_json,
)


def config(**changes):
    values = ConfigDict({"seed": 0, "model": {"width": 8, "blocks": (1, 2)}, "name": None})
    values.update_from_flattened_dict(changes)
    return values


def test_json_does_not_depend_on_order_or_class():
    other = FrozenConfigDict({"name": None, "model": {"blocks": (1, 2), "width": 8}, "seed": 0})
    assert to_json(config()) == to_json(other) == to_json(json.loads(to_json(other)))
    assert fingerprint(config()) == fingerprint(other) and len(fingerprint(other)) == 16
    assert flatten(other) == {"seed": 0, "model.width": 8, "model.blocks": [1, 2], "name": None}


@pytest.mark.parametrize(
    ("b", "diff"),
    [
        ({"x": 1, "m": {"y": 2}}, {}),
        ({"x": 1, "m": {"y": 3}}, {"m.y": (2, 3)}),
        ({"x": 1.0, "m": {"y": 2}}, {"x": (1, 1.0)}),
        ({"x": True, "m": {"y": 2}}, {"x": (1, True)}),
        ({"x": 1, "m": {}}, {"m": (ABSENT, {}), "m.y": (2, ABSENT)}),
        ({"x": 1, "m": {"y": 2, "z": None}}, {"m.z": (ABSENT, None)}),
    ],
)
def test_diff_is_empty_exactly_for_equal_fingerprints(b, diff):
    a = {"x": 1, "m": {"y": 2}}
    assert config_diff(a, b) == diff
    assert (fingerprint(a) == fingerprint(b)) == (not diff)


def test_nan_equals_itself():
    assert config_diff({"x": float("nan")}, {"x": float("nan")}) == {}


def test_unwritable_value_names_the_field():
    with pytest.raises(WorkdirError, match=r"'model\.f' holds a function"):
        to_json({"model": {"f": lambda: 0}})


def test_new_and_same_workdir(tmp_path):
    directory = open_workdir(tmp_path / "a" / "b", config())
    assert directory.is_absolute() and json.loads((directory / "config.json").read_text())["model"]["width"] == 8
    assert open_workdir(directory, config()) == directory
    assert [p.name for p in directory.iterdir()] == ["config.json"]  # no temporary file is left


def test_another_config_lists_every_differing_field(tmp_path):
    open_workdir(tmp_path, config())
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(WorkdirError) as e:
        open_workdir(tmp_path, config(**{"seed": 1, "model.width": 16}))
    for part in (str(tmp_path), "seed: 0 (there), 1 (now)", "model.width: 8 (there), 16 (now)", "another --workdir"):
        assert part in str(e.value)
    assert "blocks" not in str(e.value)
    assert (tmp_path / "config.json").read_bytes() == before


def test_fields_that_may_differ_are_updated(tmp_path):
    open_workdir(tmp_path, config())
    open_workdir(tmp_path, config(**{"model.width": 16}), may_differ=["model.*"])
    assert json.loads((tmp_path / "config.json").read_text())["model"]["width"] == 16
    with pytest.raises(WorkdirError, match="seed") as e:
        open_workdir(tmp_path, config(**{"seed": 1, "model.width": 32}), may_differ=["model.*"])
    assert "width" not in str(e.value)


@pytest.mark.parametrize("content", ["{", ""])
def test_torn_config_file(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WorkdirError, match="config.json.*is not the JSON of a config"):
        open_workdir(tmp_path, config())


def test_unwritable_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkdirError, match="file/run' cannot be written.*--workdir"):
        open_workdir(tmp_path / "file" / "run", config())


def test_nearest():
    valid = ["outer.learning_rate", "inner.learning_rate", "seed", "outer.steps"]
    assert nearest("outer.learning_rat", valid)[0] == "outer.learning_rate"
    assert nearest("inner.lerning_rate", valid)[0] == "inner.learning_rate"
    assert set(nearest("learning_rate", valid)) == {"outer.learning_rate", "inner.learning_rate"}
    assert nearest("zzz", valid) == []
