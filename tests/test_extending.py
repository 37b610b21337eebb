"""Extending is one file: what a module outside of the package registers, a config uses by its name."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import smoke
from mass_jax import metagrad
from mass_jax.adapt import run
from mass_jax.adapt.run import Recipe
from mass_jax.errors import InputError
from mass_jax.mass.scorers.registry import SCORERS, register
from mass_jax.mass.state import init_state
from mass_jax.mass.step import outer_step
from mass_jax.quantities import Metric
from mass_jax.study.arms import ARMS, declared
from mass_jax.study.config import read
from mass_jax.study.evaluate import base_state, write_results
from mass_jax.study.study import open_study, train_arm
from mass_jax.tasks import registry
from mass_jax.tasks.registry import DOMAINS
from tests.mass import tiny
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
    with open_study(read(config), tmp_path / "run") as study:
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
        read(config)


@pytest.fixture
def scorers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leaves the registry as it was."""
    before = dict(SCORERS)
    monkeypatch.delitem(sys.modules, "tests.extending.variety", raising=False)
    yield
    SCORERS.clear()
    SCORERS.update(before)


def test_a_scorer(scorers: None, config: ConfigDict):  # noqa: F811
    config.scorer.kind = "variety"
    with pytest.raises(InputError, match="scorer.kind = 'variety' is not one of uniform, linear, verification"):
        read(config)
    with config.unlocked():
        config.plugins = ("tests.extending.variety",)
    read(config)

    actor = tiny.make_actor(tiny.make_method(scorer=config.scorer.kind), tiny.LENIENT)
    problems, documents, key = tiny.make_problems(), tiny.replay_documents(), jax.random.key(0)
    outer = dataclasses.replace(tiny.OUTER, generator_rate=0.0)  # the model's update takes longest to compile
    state = init_state(actor, outer, tiny.CHECKS, key)
    assert {name: leaf.shape for name, leaf in state.eta.items()} == {"out": (2,), "gate": (5,)}
    for step in range(2):
        state, record = outer_step(actor, outer, state, step, problems, documents)
        assert record.metrics[Metric.NORM_SCORER] > 0 and np.isfinite(list(record.named().values())).all()
    assert all(np.abs(leaf).max() > 1e-3 for leaf in state.eta.values()), "head and gate have learned"

    trained, practice = actor.replace(params=state.params), tiny.make_practice(problems)
    ready = run.prepare(trained, state.eta, problems, Recipe("own", "scorer"), practice, key)
    outcome = run.measure(trained, problems, ready)
    assert len(outcome.texts) == len(problems) and np.isfinite(outcome.log_likelihood_P).all()
    weights = np.asarray(ready.scores.weights_PxM)[practice.arrays.valid_PxM]
    assert np.ptp(weights) > 0, "they weigh differently"


def test_a_name_that_is_taken_is_a_sentence(scorers: None):
    with pytest.raises(InputError, match="there is a scorer 'linear' already: give another name"):
        register(dataclasses.replace(SCORERS["linear"], meaning="another one"))


def test_a_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    monkeypatch.delitem(sys.modules, "tests.extending.domain", raising=False)
    request.addfinalizer(lambda: DOMAINS.pop("sums", None))
    own = smoke.get_config()
    own.plugins = ("tests.extending.domain",)
    own.task = ConfigDict({"name": "sums", "count": 12})
    own.pretrain.update({"steps": 2, "warmup_steps": 1, "decay_steps": 1, "long_batch": 8})
    own.model.update({"width": 16, "head_dim": 8, "heads": 2, "kv_heads": 1, "mlp_width": 24})
    own.train.update({"steps": 2, "problems": 2, "solutions": 2})
    own.arms = ConfigDict({"mass_gold": {"train": {"mode": "gold"}}})
    own.evaluate.skip = tuple(name for name in ARMS if name not in ("base", "mass_gold"))
    with open_study(read(own.lock()), tmp_path / "run") as study:
        states = {"base": base_state(study), "mass_gold": train_arm(study, "mass_gold")}
        results = json.loads(write_results(study, states).read_text())
    assert study.domain.tokenizer.vocab_size == 3 + 13 and study.splits.test[1].prompt == "4 + 1"
    assert set(results["methods"]) == {"base", "mass_gold"} and results["headline"] == "mass_gold"
    assert [row["n"] for row in results["methods"].values()] == [12] * 2
    assert len((tmp_path / "run/mass_gold/metrics.jsonl").read_text().splitlines()) == 2
    assert results["log_likelihood"]["base"] != results["log_likelihood"]["mass_gold"], "it was trained"
    assert isinstance(study.config.task, DOMAINS["sums"])
    with own.unlocked():
        own.task.count = 0
    with pytest.raises(InputError, match="^task.count = 0: give 1 or more.$"):
        read(own)
    with pytest.raises(InputError, match="there is a domain 'sums' already: give another name"):
        registry.register(type("Other", (DOMAINS["sums"],), {}))


def test_an_estimator(config: ConfigDict, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):  # noqa: F811
    monkeypatch.delitem(sys.modules, "tests.extending.estimator", raising=False)
    request.addfinalizer(lambda: metagrad.ESTIMATORS.pop("clipped", None))
    config.metagrad.name, config.metagrad.options = "clipped", "limit=0.5"
    with pytest.raises(InputError, match="metagrad.name = 'clipped' is not one of adjoint"):
        read(config)
    with config.unlocked():
        config.plugins = ("tests.extending.estimator",)
    read(config)
    actor = tiny.make_actor(tiny.make_method("clipped"), tiny.LENIENT)
    problems, documents = tiny.make_problems(), tiny.replay_documents()
    outer = dataclasses.replace(tiny.OUTER, generator_rate=0.0)
    state = init_state(actor, outer, tiny.CHECKS, jax.random.key(0))
    for step in range(2):
        state, record = outer_step(actor, outer, state, step, problems, documents)
        assert record.metrics[Metric.NORM_SCORER] > 0 and np.isfinite(list(record.named().values())).all()
    with pytest.raises(ValueError, match="there is an estimator 'adjoint' already: give another name"):
        metagrad.register("adjoint", metagrad.ESTIMATORS["clipped"])
