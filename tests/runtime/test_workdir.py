"""A run's directory belongs to one config."""

import json
import subprocess
import sys

import pytest
from ml_collections import ConfigDict, FrozenConfigDict

from mass_jax.errors import InputError, nearest
from mass_jax.parallel import hosts
from mass_jax.runtime.configs import ABSENT, config_diff, fingerprint, flatten, to_json
from mass_jax.runtime.workdir import WorkdirError, check_workdir, open_workdir


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
    with pytest.raises(InputError, match=r"'model\.f' holds a function"):
        to_json({"model": {"f": lambda: 0}})


def test_new_and_same_workdir(tmp_path):
    directory = open_workdir(tmp_path / "a" / "b", config())
    assert directory.is_absolute() and json.loads((directory / "config.json").read_text())["model"]["width"] == 8
    assert open_workdir(directory, config()) == directory
    assert sorted(p.name for p in directory.iterdir()) == [".lock", "config.json"]  # no temporary file is left


def test_another_config_lists_every_differing_field(tmp_path):
    open_workdir(tmp_path, config())
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(WorkdirError) as e:
        open_workdir(tmp_path, config(**{"seed": 1, "model.width": 16}))
    for part in (str(tmp_path), "seed: 0 (there), 1 (now)", "model.width: 8 (there), 16 (now)", "another --workdir"):
        assert part in str(e.value)
    assert "blocks" not in str(e.value)
    assert (tmp_path / "config.json").read_bytes() == before


def test_the_way_back_to_the_old_config_is_one(tmp_path):
    open_workdir(tmp_path, {"seed": 0, "old": 1})
    said = []
    for now in ({"seed": 1, "old": 1}, {"seed": 0, "old": 1, "new": 2}, {"seed": 0}):
        with pytest.raises(WorkdirError) as e:
            open_workdir(tmp_path, now)
        said.append(str(e.value).partition("give the old values, in the config's file or by flags")[2])
    assert said == [
        ".",
        ", and leave out what is <absent> there.",
        "; a field that is refused then is of another version of the code, which alone goes on with it.",
    ]


def test_a_look_writes_nothing(tmp_path):
    check_workdir(tmp_path / "run", config())
    assert not (tmp_path / "run").exists()
    open_workdir(tmp_path / "run", config())
    check_workdir(tmp_path / "run", config())
    with pytest.raises(WorkdirError, match="another config"):
        check_workdir(tmp_path / "run", config(seed=1))


def test_the_directory_of_a_run_is_its_own(tmp_path):
    open_workdir(tmp_path, config())
    program = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    refused = subprocess.run([sys.executable, "-c", program, str(tmp_path / ".lock")], capture_output=True, text=True)
    assert "BlockingIOError" in refused.stderr


def test_all_processes_are_refused_with_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "first", lambda: False)
    assert open_workdir(tmp_path / "a", config()) == tmp_path / "a" and not (tmp_path / "a").exists()
    monkeypatch.setattr(hosts, "largest", lambda number: 1)
    with pytest.raises(WorkdirError, match="first process cannot use"):
        open_workdir(tmp_path / "a", config())


def test_fields_that_may_differ_are_updated(tmp_path):
    open_workdir(tmp_path, config())
    open_workdir(tmp_path, config(**{"model.width": 16}), may_differ=["model.*"])
    assert json.loads((tmp_path / "config.json").read_text())["model"]["width"] == 16
    with pytest.raises(WorkdirError, match="seed") as e:
        open_workdir(tmp_path, config(**{"seed": 1, "model.width": 32}), may_differ=["model.*"])
    assert "width" not in str(e.value)


@pytest.mark.parametrize("content", [b"{", b"", b'{"seed": "\xff"}', b"[0]", b"[" * 9999], ids=range(5))
def test_torn_config_file(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
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
