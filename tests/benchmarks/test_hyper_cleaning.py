"""Hyper-cleaning at its smallest: what an estimator finds, and what a person can get wrong."""

import json
from pathlib import Path

import numpy as np

from experiments.benchmarks import hyper_cleaning

ROOT = Path(__file__).resolve().parents[2]


def test_corrupted_labels_are_known_wrong_and_the_rest_right():
    clean, corrupted = hyper_cleaning.load(3, 0.0), hyper_cleaning.load(3, 0.4)
    assert corrupted.wrong.sum() == 0.4 * hyper_cleaning.TRAIN
    np.testing.assert_array_equal(corrupted.train_y != clean.train_y, corrupted.wrong)
    np.testing.assert_array_equal(corrupted.test_y, clean.test_y)
    images = [corrupted.train_x, corrupted.validation_x, corrupted.test_x]
    assert sum(map(len, images)) == 1797
    assert len(np.unique(np.concatenate(images), axis=0)) == 1797  # nothing is in two splits


def test_the_exact_meta_gradient_finds_wrong_labels_and_helps(tmp_path):
    results = hyper_cleaning.run(tmp_path, ["adjoint"], 1, 10, 20, 0.4)
    row = results["rows"][0]
    assert row["f1"]["mean"] > 0.75
    assert row["test_accuracy"]["mean"] > results["baselines"]["all labels"]["mean"] + 0.05
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert "| adjoint |" in (tmp_path / "table.md").read_text()
