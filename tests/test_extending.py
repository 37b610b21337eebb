"""Extending is one file: what a module outside of the package registers, a config uses by its name."""

import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from mass_jax.errors import InputError
from mass_jax.study.arms import ARMS, declared
from mass_jax.study.evaluate import base_state, write_results
from mass_jax.study.schema import check
from mass_jax.study.study import open_study
from tests.study.test_study import config, data, model  # noqa: F401 (fixtures)

ROOT = Path(__file__).parent
MOST_LINES = 60


@pytest.mark.parametrize("path", sorted((ROOT / "extending").glob("*.py")), ids=lambda path: path.stem)
def test_one_file_is_enough(path: Path):
    assert len(path.read_text().splitlines()) < MOST_LINES


def test_an_arm_and_its_source_of_practice(config: ConfigDict, tmp_path: Path):  # noqa: F811
    with config.unlocked():
        config.arms = ConfigDict()
        config.plugins = ("tests.extending.arm",)
        config.evaluate.skip = tuple(name for name in ARMS if name not in ("base", "base_ttt"))
    with open_study(config, tmp_path / "run") as study:
        results = json.loads(write_results(study, {"base": base_state(study)}).read_text())
    assert set(results["methods"]) == {"base", "base_ttt"} and set(results["controls"]) == {"ttt_shortest"}
    assert {"ttt_shortest-base", "ttt_shortest-base_ttt"} <= set(results["paired"])
    assert results["labels"]["ttt_shortest"] == "TTT, shortest"
    assert results["meanings"]["ttt_shortest"] == "update on the shortest training problems"
    likelihood = results["log_likelihood"]
    assert len({likelihood["base"], likelihood["base_ttt"], likelihood["ttt_shortest"]}) == 3
    made_with = json.loads((tmp_path / "run/evaluation/base.json").read_text())["made_with"]
    assert made_with["plugins"], "the plugin's code decides the answers, too"
    assert "ttt_shortest" not in declared(), "a study without the plugin has no such row"


def test_a_plugin_that_cannot_be_imported_is_a_sentence(config: ConfigDict):  # noqa: F811
    with config.unlocked():
        config.plugins = ("tests.extending.nowhere",)
    with pytest.raises(InputError, match="plugins: the module 'tests.extending.nowhere' cannot be imported"):
        check(config)
