"""Two runs, compared bit for bit: what differs is named, and what only one of them has does not count."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from experiments import compare_runs
from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.runtime.checkpoint import Checkpointer
from mass_jax.study.compare import compare


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs' newest checkpoints, which differ in the last bit of a number."""
    root = tmp_path_factory.mktemp("checkpoints")
    for name, value in (("a", 1.0), ("b", np.nextafter(np.float32(1), np.float32(2)))):
        with Checkpointer(root / name / "mass" / "checkpoints") as checkpointer:
            checkpointer.save(1, {"w": np.full(3, value, np.float32)}, data={})
        (root / name / "results.json").write_text('{"seed": 1}')
    return {name: root / name for name in ("a", "b")}


def run(folder: Path, loss: float = 0.5, **results: object) -> Path:
    (folder / "mass").mkdir(parents=True)
    line = {"step": 0, "loss": loss, "odd": math.nan, "time/adapt": np.random.default_rng().random()}
    (folder / "mass" / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "results.json").write_text(json.dumps({"seed": 1, "timing": {"total_seconds": loss}} | results, indent=2))
    return folder


def test_equal_numbers_are_equal(tmp_path: Path):
    assert compare(run(tmp_path / "a"), run(tmp_path / "b", environment={"commit": "x"}, commit="x")) == ([], [])


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


BROKEN = {
    "empty": ("results.json", "", "results.json' is damaged .Expecting value"),
    "no JSON": ("results.json", "{", "results.json' is damaged .Expecting property name"),
    "no object": ("results.json", "[]", "results.json' is damaged .it holds a list"),
    "deep": ("results.json", "[" * 200_000, "results.json' is damaged .it is nested more than 100 deep"),
    "nothing": ("results.json", "{}", "results.json' is empty"),
    "sealed nothing": ("results.json", records.dumps({}), "results.json' is empty"),
    "another byte": ("results.json", records.dumps({"seed": 1}).replace("1", "2", 1), "checksum does not fit"),
    "a gate": ("gate.json", '{"gate": ', "gate.json' is damaged"),
    "a line": ("examples.jsonl", '{"family": 1}\n{"fam', "examples.jsonl' is damaged"),
    "a deep metric": ("mass/metrics.jsonl", "[" * 200_000, "metrics.jsonl' has 1 damaged lines of 1"),
    "a metric": ("mass/metrics.jsonl", '{"step": 0}\n{"ste', "metrics.jsonl' has 1 damaged lines of 2. Finish"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("place", [0, 1, None])
def test_a_damaged_run_is_nothing_to_compare_and_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: str, place: int | None
):
    name, text, words = BROKEN[broken]
    runs = [run(tmp_path / each) for each in "ab"]
    for i, folder in enumerate(runs):
        for file, whole in (("gate.json", "{}"), ("examples.jsonl", "")):
            (folder / file).write_text(whole)
        if place in (i, None):
            (folder / name).write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr("sys.argv", ["compare_runs", *map(str, runs)])
    with pytest.raises(SystemExit) as end:
        compare_runs.main()
    assert end.value.code == 2 and re.search(f"There is nothing to compare: '.*{words}", capsys.readouterr().err)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_in_the_place_of_a_file_is_nothing_to_compare(tmp_path: Path):
    runs = [run(tmp_path / each) for each in "ab"]
    (runs[1] / "mass/metrics.jsonl").unlink()
    (runs[1] / "mass/metrics.jsonl").mkdir()
    with pytest.raises(InputError, match=r"metrics.jsonl' cannot be read .Is a directory.. Give another run"):
        compare(*runs)


def test_runs_without_a_value_in_common_are_nothing_to_compare(tmp_path: Path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"timing": {"total_seconds": 1.0}}))
    with pytest.raises(InputError, match="There is nothing to compare: .* have no value in common. Give two"):
        compare(tmp_path / "a", tmp_path / "b")
