"""Extending is one file: what a module outside of the package registers, a config uses by its name.

One study has a domain, a scorer, an estimator, arms, a source of practice and a way to weigh it of its own: two outer
steps and an evaluation.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import smoke
from mass_jax.adapt.run import Outcome, Recipe
from mass_jax.adapt.sources import SOURCES
from mass_jax.adapt.weights import WEIGHTS
from mass_jax.adapt.weights import register as register_weights
from mass_jax.errors import InputError
from mass_jax.mass.practice import PracticeSets
from mass_jax.mass.scorers.registry import SCORERS
from mass_jax.mass.scorers.registry import register as register_scorer
from mass_jax.mass.state import TrainState
from mass_jax.metagrad import ESTIMATORS
from mass_jax.metagrad import register as register_estimator
from mass_jax.quantities import Metric
from mass_jax.study.arms import ARMS, WRITES, declared
from mass_jax.study.config import read
from mass_jax.study.evaluate import base_state, write_results
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.schema import Config
from mass_jax.study.study import Splits, open_study, train_arm
from mass_jax.tasks import registry
from mass_jax.tasks.base import Domain
from mass_jax.tasks.registry import DOMAINS

FOLDER = Path(__file__).parent / "extending"
MOST_LINES = 60
PLUGINS = tuple(f"tests.extending.{name}" for name in ("domain", "variety", "estimator", "arm"))
COUNT = 8
"""Problems of each split: two batches."""
LIMIT = 0.01
"""Of the estimator's gradients, an eighth of what they would be."""


def make_config(*plugins: str) -> ConfigDict:
    """The smallest study that uses them all; training and evaluation have the same shapes, and compile once."""
    own = smoke.get_config()
    own.plugins = plugins
    own.task = ConfigDict({"name": "sums", "count": COUNT})
    own.scorer.kind = "variety"
    own.metagrad.update({"name": "clipped", "options": f"limit={LIMIT}"})
    own.pretrain.update({"steps": 60, "long_batch": 8})  # just enough to write practice that can be read
    own.model.update({"width": 16, "head_dim": 8, "heads": 2, "kv_heads": 1, "mlp_width": 24})
    own.inner.steps = 1
    own.train.update({"steps": 2, "problems": COUNT // 2, "solutions": 2})
    own.arms = ConfigDict({"mass_gold": {"train": {"mode": "gold"}}})
    own.evaluate.batch = COUNT // 2
    own.evaluate.skip = tuple(name for name in ARMS if name not in ("base", "base_ttt", "mass_gold"))
    return own.lock()


class Extended(NamedTuple):
    """What the study left."""

    config: Config
    workdir: Path
    domain: Domain
    splits: Splits
    state: TrainState
    results: dict[str, Any]
    metrics: list[dict[str, float]]
    practice: list[PracticeSets]
    outcomes: list[Outcome]
    weighed: list[Outcome]


@pytest.fixture(scope="module", autouse=True)
def registries() -> Iterator[None]:
    """Leaves them as they were."""
    before = [(names, dict(names)) for names in (DOMAINS, SCORERS, ESTIMATORS, SOURCES, WEIGHTS)]
    yield
    for names, entries in before:
        names.clear()
        names.update(entries)
    for module in PLUGINS:
        sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Extended:
    """Trained and evaluated."""
    config, workdir = read(make_config(*PLUGINS)), tmp_path_factory.mktemp("extended") / "run"
    with open_study(config, workdir) as study:
        state = train_arm(study, "mass_gold")
        states = {"base": base_state(study), "mass_gold": state}
        results = json.loads(write_results(study, states).read_text())
        evaluator = Evaluator(study, states, study.splits.test, seed=0)
        practice = evaluator.practice("mass_gold", WRITES)
        assert practice is not None
        outcomes = evaluator.run("mass_gold", WRITES)
        weighed = evaluator.run("base", Recipe("shortest", "shared"))
    metrics = list(map(json.loads, (workdir / "mass_gold/metrics.jsonl").read_text().splitlines()))
    return Extended(config, workdir, study.domain, study.splits, state, results, metrics, practice, outcomes, weighed)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_one_file_is_enough(path: Path):
    assert len(path.read_text().splitlines()) < MOST_LINES


@pytest.mark.parametrize(
    ("plugin", "names", "name", "said"),
    [
        (
            "domain",
            DOMAINS,
            "sums",
            "task.name = 'sums' is not one of arithmetic, candidates, operators, programs, countdown, grid, agent, "
            "mathematics, code, science",
        ),
        ("variety", SCORERS, "variety", "scorer.kind = 'variety' is not one of uniform, linear, verification"),
        ("estimator", ESTIMATORS, "clipped", "metagrad.name = 'clipped' is not one of adjoint"),
    ],
    ids=["domain", "scorer", "estimator"],
)
def test_a_name_that_no_module_registers_is_a_sentence(
    plugin: str, names: dict[str, Any], name: str, said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(names, name, raising=False)
    with pytest.raises(InputError, match=said):
        read(make_config(*(each for each in PLUGINS if not each.endswith(plugin))))


def test_a_plugin_that_cannot_be_imported_is_a_sentence():
    with pytest.raises(InputError, match="plugins: the module 'tests.extending.nowhere' cannot be imported"):
        read(make_config("tests.extending.nowhere"))


def test_an_arm_and_its_source_of_practice(extended: Extended):
    results = extended.results
    assert set(results["methods"]) == {"base", "base_ttt", "mass_gold"}
    assert set(results["controls"]) == {"ttt_shortest", "ttt_shared"}
    assert {"ttt_shortest-base", "ttt_shortest-base_ttt"} <= set(results["paired"])
    assert results["labels"]["ttt_shortest"] == "TTT, shortest"
    assert results["meanings"]["ttt_shortest"] == "update on the shortest training problems"
    likelihood = results["log_likelihood"]
    assert len({likelihood["base"], likelihood["base_ttt"], likelihood["ttt_shortest"]}) == 3
    made_with = json.loads((extended.workdir / "evaluation/base.json").read_text())["made_with"]
    assert made_with["plugins"], "the plugin's code decides the answers, too"
    assert "ttt_shortest" not in declared(), "a study without the plugin has no such row"


def test_a_way_to_weigh(extended: Extended):
    likelihood = extended.results["log_likelihood"]
    assert likelihood["ttt_shared"] != likelihood["ttt_shortest"], "the same practice counts otherwise"
    assert "ttt_shared-ttt_shortest" in extended.results["paired"]
    for outcome in extended.weighed:
        assert outcome.scores is not None
        assert {*np.unique(outcome.scores.weights_PxM)} == {1, 2}, "they share '+', or a summand too"
    with pytest.raises(InputError, match="there is a way to weigh practice 'shared' already: give another name"):
        register_weights(dataclasses.replace(WEIGHTS["shared"], needs=frozenset({"family"})))


def test_a_scorer(extended: Extended):
    eta = extended.state.eta
    assert {name: leaf.shape for name, leaf in eta.items()} == {"out": (2,), "gate": (5,)}
    assert all(np.abs(leaf).max() > 1e-3 for leaf in eta.values()), "head and gate have learned"
    for practice, outcome in zip(extended.practice, extended.outcomes, strict=True):
        assert len(outcome.texts) == COUNT // 2 and np.isfinite(outcome.log_likelihood_P).all()
        assert outcome.scores is not None
        weights = np.asarray(outcome.scores.weights_PxM)[practice.arrays.valid_PxM]
        assert np.ptp(weights) > 0, "they weigh differently"
    with pytest.raises(InputError, match="there is a scorer 'linear' already: give another name"):
        register_scorer(dataclasses.replace(SCORERS["linear"], meaning="another one"))


def test_a_domain(extended: Extended):
    assert extended.domain.tokenizer.vocab_size == 3 + 13 and extended.splits.test[1].prompt == "4 + 1"
    results = extended.results
    assert results["headline"] == "mass_gold" and [row["n"] for row in results["methods"].values()] == [COUNT] * 3
    assert results["log_likelihood"]["base"] != results["log_likelihood"]["mass_gold"], "it was trained"
    assert isinstance(extended.config.task, DOMAINS["sums"])
    own = make_config(*PLUGINS)
    own.task.count = 0
    with pytest.raises(InputError, match="^task.count = 0: give 1 or more.$"):
        read(own)
    with pytest.raises(InputError, match="there is a domain 'sums' already: give another name"):
        registry.register(type("Other", (DOMAINS["sums"],), {}))


def test_an_estimator(extended: Extended):
    assert len(extended.metrics) == 2
    for metrics in extended.metrics:
        assert 0 < metrics[Metric.NORM_SCORER] < LIMIT * 1.001, "they are cut"
        assert np.isfinite([value for value in metrics.values() if isinstance(value, float)]).all()
    with pytest.raises(ValueError, match="there is an estimator 'adjoint' already: give another name"):
        register_estimator("adjoint", ESTIMATORS["clipped"])
