"""The door of `mass_jax.load`: what cannot be loaded is a sentence, and nothing is written."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mass_jax
from configs import smoke
from mass_jax import InputError, Recipe, records
from mass_jax.runtime.configs import to_json
from mass_jax.study.arms import ARMS, Arm
from mass_jax.study.config import read
from mass_jax.study.load import read_config
from tests.mass import tiny

ABLE = "base, tt_ss, tt_ss_majority, self_consistency, best_of_n.$"
"""The rows that answer without a pool where no arm is trained."""


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """Of a run that has trained nothing yet."""
    (tmp_path / "run").mkdir()
    config = smoke.get_config()
    del config.arms.first_order
    (tmp_path / "run/config.json").write_text(to_json(config))
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ("mass", "The arm 'mass' of .* is not trained: 0 of 3 steps are done"),
        ("base", "There is no base in"),
        ("oracle_filter", f"the arm 'oracle_filter' needs more of a problem than its prompt: choose from {ABLE}"),
        ("mas", f"there is no arm 'mas': choose from {ABLE}"),
        ("base_ttt", f"the arm 'base_ttt' practises on training problems: give them as pool, or choose from {ABLE}"),
        (
            "ttt_shown",
            f"'ttt_shown' cannot answer here: problems of arithmetic show no solved examples; choose from {ABLE}",
        ),
        ("topics", f"'topics' cannot answer here: problems of arithmetic leave no topic open; choose from {ABLE}"),
        ("first_order", f"'first_order' uses the model 'first_order', which is not in config.arms: choose from {ABLE}"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(workdir: Path, arm: str, words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(ARMS, "topics", Arm(name="topics", model="base", recipe=Recipe("any_topic")))
    with pytest.raises(InputError, match=words):
        mass_jax.load(workdir, arm)
    assert [path.name for path in workdir.parent.rglob("*")] == ["run", "config.json"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((5,), "workdir = 5 is no path: give the workdir of a run"),
        ((None,), "workdir = None is no path"),
        (("run", "base_ttt", ["1 + 1"]), "pool has '1 [+] 1', which is no Problem: give training problems"),
        (("run", "base_ttt", "1 + 1"), "pool has '1', which is no Problem"),
        (("run", "base_ttt", 5), "pool has 5, which is no Problem"),
        (("run", 5), "there is no arm 5: choose from"),
        (("run", ["mass"]), r"there is no arm \['mass'\]: choose from"),
    ],
)
def test_arguments_of_another_kind_are_sentences(workdir: Path, arguments: tuple[Any, ...], words: str):
    with pytest.raises(InputError, match=words):
        mass_jax.load(*(workdir if each == "run" else each for each in arguments))


def test_what_another_arm_was_trained_to_is_not_loaded(tmp_path: Path):
    run = Path(shutil.copytree(Path(__file__).parent / "earlier" / "run", tmp_path / "run"))
    manifest = run / "mass/checkpoints/2/manifest/metadata"
    owner = json.loads((run / "config.json").read_text())
    owner["train"] |= owner["arms"]["mass"]["train"] | {"mode": "gold"}  # as if another arm's folder were copied here
    saved = json.loads(manifest.read_text()) | {"format": 2, "config": owner, "checksums": {}}
    manifest.write_text(json.dumps(records.sealed(saved)))
    with pytest.raises(InputError, match=r"(?s)with another config, .* train.mode: 'gold' \(there\), 'verifier' \(now"):
        mass_jax.load(run)


def test_a_plugin_that_is_missing_is_what_is_said(workdir: Path):
    found = json.loads((workdir / "config.json").read_text()) | {"plugins": ["my_parts"]}
    (workdir / "config.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match=r"has parts of plugins: .*my_parts.* put their folder on PYTHONPATH"):
        mass_jax.load(workdir)


@pytest.mark.parametrize("text", [None, "[]", "{", "[" * 200_000], ids=[0, 1, 2, 3])
def test_a_folder_without_a_run_is_a_sentence(tmp_path: Path, text: str | None):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match="there is no run in .*: its config.json cannot be read"):
        mass_jax.load(tmp_path)


@pytest.mark.parametrize("text", ["{}", '{"seed": NaN}'])
def test_a_damaged_config_is_not_called_an_earlier_one(tmp_path: Path, text: str):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match="does not fit this version of the code: put it back if it is damaged; load"):
        mass_jax.load(tmp_path)


def test_a_config_comes_back_as_it_was(workdir: Path):
    config = smoke.get_config()
    del config.arms.first_order
    assert read_config(workdir) == read(config)
    assert isinstance(read_config(workdir).evaluate.skip, tuple)


def test_with_a_pool_the_rows_that_practise_on_one_are_offered(workdir: Path):
    with pytest.raises(
        InputError, match="there is no arm 'mas': choose from base, base_ttt, ttt_nn, tt_ss, tt_ss_majo"
    ):
        mass_jax.load(workdir, "mas", tiny.make_problems(2))
