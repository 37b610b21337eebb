"""Tables of runs that differ in their seeds, from files as runs leave them."""

from pathlib import Path

import numpy as np
import pytest

from mass_jax import records
from mass_jax.reporting.over_seeds import load, tables
from mass_jax.reporting.run import RunError

LABELS = {"base": "Base", "mass": "MASS", "oracle_gold_family": "Oracle", "extra": "Extra"}
FAMILIES, DIFFICULTY = [0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1]
BASES = ([1, 1, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0])
MASS = ([1, 0, 1, 1, 1, 0], [1, 1, 1, 1, 0, 1])


def run(folder: Path, base: list[int], mass: list[int], extra: bool = True, families: list[int] = FAMILIES) -> Path:
    rows = {"base": base, "mass": mass, "oracle_gold_family": [1] * len(base)} | ({"extra": base} if extra else {})
    (folder / "evaluation").mkdir(parents=True)
    labels = {name: LABELS[name] for name in rows}
    (folder / "results.json").write_text(records.dumps({"labels": labels, "headline": "mass"}))
    (folder / "problems.json").write_text(records.dumps({"family": families, "difficulty": DIFFICULTY}))
    for name, verdicts in rows.items():
        text = records.dumps({"correct": [bool(each) for each in verdicts]}, {"config": "1"})
        (folder / "evaluation" / f"{name}.json").write_text(text)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [run(tmp_path / str(i), *pair, extra=i == 0) for i, pair in enumerate(zip(BASES, MASS, strict=True))]


def test_numbers_are_those_of_the_verdicts(runs: list[Path], tmp_path: Path):
    found = tables(load(runs))
    accuracy = {row[0]: row for row in found["accuracy"].rows}
    assert list(accuracy) == ["Base", "MASS", "Oracle"], "what one run lacks has no row"
    assert accuracy["Base"][1] == "50.0" and accuracy["MASS"][1] == "75.0" and accuracy["MASS"][5] == "+25.0"
    assert [row[0] for row in found["paired"].rows] == ["Base", "Oracle"]
    assert found["paired"].rows[0][1] == "+25.0" and found["paired"].rows[0][-1] == "2 of 2"
    [changed] = found["changed"].rows
    # Seed 0 gains problems 2 and 4 and loses 1; seed 1 gains 3 and 5.
    assert changed == ("Base", "2.0", "0.5", "2.5", "1.0")
    [share] = found["oracle"].rows
    assert share[:2] == ("MASS", "50.0"), "(4 - 3) of (6 - 3), and (5 - 3) of as many"
    below = load([run(tmp_path / "below", BASES[0], [0] * 6)])
    assert tables(below)["oracle"].rows[0][:2] == ("MASS", "−100.0")


def test_gains_are_by_difficulty_and_by_other_seeds_bases(runs: list[Path]):
    rows = {row[0]: row for row in tables(load(runs))["gains"].rows}
    assert rows["difficulty 0"][1:5] == ("3", "50.0", "83.3", "+33.3")
    assert rows["difficulty 1"][1:5] == ("3", "50.0", "66.7", "+16.7")
    # The weakest family of either seed's base is the other's weakest, 2; the middle one is 1, the strongest 0.
    assert [rows[f"{third} third of families, by other seeds' bases"][2:5] for third in ("weakest", "strongest")] == [
        ("0.0", "50.0", "+50.0"),
        ("100.0", "75.0", "−25.0"),
    ]


def test_a_seeds_own_luck_does_not_choose_its_weakest_families(tmp_path: Path):
    """Verdicts by chance alone: by its own base the weakest third would gain, and the strongest lose."""
    rng, families = np.random.default_rng(0), np.repeat(np.arange(60), 3).tolist()
    folders = []
    for seed in range(4):
        folder = run(tmp_path / str(seed), *rng.integers(2, size=(2, 180)).tolist(), families=families)
        problems = {"family": families, "difficulty": [0] * 180}
        (folder / "problems.json").write_text(records.dumps(problems))
        folders.append(folder)
    rows = {row[0].split()[0]: row for row in tables(load(folders))["gains"].rows}
    for third in ("weakest", "strongest"):
        assert abs(float(rows[third][4].replace("−", "-"))) < 15.0, rows


def test_one_seed_has_no_thirds_and_runs_without_a_headline_only_accuracies(runs: list[Path]):
    assert len(tables(load(runs[:1]))["gains"].rows) == 2
    (runs[0] / "results.json").write_text(records.dumps({"labels": LABELS}))
    assert set(tables(load(runs[:1]))) == {"accuracy"}


def test_what_cannot_be_joined_is_a_sentence(runs: list[Path], tmp_path: Path):
    other = run(tmp_path / "other", *BASES, families=[0, 0, 1, 1, 2, 3])
    with pytest.raises(RunError, match="other' has other test problems than .* give runs that differ in seeds"):
        load([*runs, other])
    (runs[1] / "evaluation" / "mass.json").write_text('{"correct": ["yes"]}')
    with pytest.raises(RunError, match=r"mass.json' cannot be read .*correct is no list of numbers"):
        load(runs)
    (runs[0] / "problems.json").unlink()
    with pytest.raises(RunError, match=r"problems.json' cannot be read .*experiments.evaluate"):
        load(runs)
