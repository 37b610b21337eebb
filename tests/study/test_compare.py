"""Two runs, compared bit for bit: what differs is named, and what only one of them has does not count."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from experiments import compare_runs
from mass_jax.runtime.checkpoint import Checkpointer
from mass_jax.study.compare import compare


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs' newest checkpoints, which differ in the last bit of a number."""
    root = tmp_path_factory.mktemp("checkpoints")
    for name, value in (("a", 1.0), ("b", np.nextafter(np.float32(1), np.float32(2)))):
        with Checkpointer(root / name / "mass" / "checkpoints") as checkpointer:
            checkpointer.save(1, {"w": np.full(3, value, np.float32)}, data={})
    return {name: root / name for name in ("a", "b")}


def run(folder: Path, loss: float = 0.5, **results: object) -> Path:
    (folder / "mass").mkdir(parents=True)
    line = {"step": 0, "loss": loss, "odd": math.nan, "time/adapt": np.random.default_rng().random()}
    (folder / "mass" / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "results.json").write_text(json.dumps({"seed": 1, "timing": {"total_seconds": loss}} | results, indent=2))
    return folder


def test_equal_numbers_are_equal(tmp_path: Path):
    assert compare(run(tmp_path / "a"), run(tmp_path / "b", environment={"commit": "x"})) == ([], [])


def test_what_differs_is_named(tmp_path: Path):
    methods = {"mass": {"accuracy": 0.5}}, {"mass": {"accuracy": 0.25}}
    a, b = (run(tmp_path / name, *each) for name, each in (("a", ()), ("b", (0.5000001,))))
    for folder, each in zip((a, b), methods, strict=True):
        (folder / "results.json").write_text(json.dumps({"methods": each}))
    assert compare(a, b).differing == [
        "mass/metrics.jsonl, line 0 differs in 1 of 3 values, such as loss",
        "results.json differs in 1 of 1 values, such as /methods/mass/accuracy",
    ]


def test_the_last_bit_of_a_parameter_counts(checkpoints: dict[str, Path]):
    differing, alone = compare(checkpoints["a"], checkpoints["b"])
    assert len(differing) == 1 and differing[0].startswith("mass/checkpoints differs in 1 of 2 values") and not alone
    assert compare(checkpoints["a"], checkpoints["a"]) == ([], [])


def test_what_one_run_has_alone_is_named_and_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    a, b = run(tmp_path / "a", meanings={"mass": "x"}), run(tmp_path / "b")
    (a / "gate.json").write_text("{}")
    (b / "mine").mkdir()
    (b / "mine" / "metrics.jsonl").write_text('{"step": 0}\n')
    monkeypatch.setattr("sys.argv", ["compare_runs", str(a), str(b)])
    with pytest.raises(SystemExit) as end:
        compare_runs.main()
    printed = capsys.readouterr().out.splitlines()
    assert end.value.code == 0 and printed[-1] == "All numbers that both runs have are equal, bit for bit."
    assert printed[:-1] == [
        "only one run has mine/metrics.jsonl",
        "only one run has gate.json",
        "results.json: only one run has /meanings/mass",
    ]
