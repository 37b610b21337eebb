"""What the headline's generator learned, from what every model writes and from the metrics of its training."""

import json
from pathlib import Path

import pytest

from mass_jax.quantities import Metric
from mass_jax.runtime.metrics import METRICS_FILE
from mass_jax.study.decomposition import generator


def model(well_formed: float, on_family: float, correct: float) -> dict:
    return {"practice": {"well_formed": well_formed, "on_family": on_family, "correct": correct}, "accuracy": {}}


FOUND = {
    "base": model(0.8, 0.2, 0.1),
    "mass": model(0.5, 0.4, 0.4),
    "mass_shuffled_reward": model(0.0, 0.0, 0.0),
}


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    rows = [{"step": i, Metric.D_PRIME: 1.0 - 0.1 * i} for i in range(10)] + [{"step": 10}]
    (tmp_path / "mass").mkdir()
    (tmp_path / "mass" / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_shares_are_of_the_well_formed_and_of_all(workdir: Path):
    found = generator(FOUND, "mass", workdir)
    assert found["on_topic"] == pytest.approx({"before": 0.25, "after": 0.8, "shuffled": 0.0})
    assert found["right"] == {"before": 0.1, "after": 0.4, "shuffled": 0.0}, "an arm that was not trained has no share"
    assert found["d_prime"] == pytest.approx({"start": 0.8, "end": 0.3}), "means over five steps"


def test_a_domain_without_families_has_neither(workdir: Path):
    blind = {name: {"practice": {"well_formed": 0.5}, "accuracy": {}} for name in FOUND}
    assert set(generator(blind, "mass", workdir)) == {"d_prime"}
    (workdir / "mass" / METRICS_FILE).unlink()
    assert generator(blind, "mass", workdir) == {}, "a run may have lost its curves"
    (workdir / "mass" / METRICS_FILE).write_text('{"step": 0}\n')
    assert generator(blind, "mass", workdir) == {}
