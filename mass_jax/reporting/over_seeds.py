"""The tables of runs that differ in their seeds: every number over seeds and families, see `crossed`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mass_jax import records
from mass_jax.reporting.crossed import Floats, Spread, spread
from mass_jax.reporting.labels import label
from mass_jax.reporting.run import RunError, load_results
from mass_jax.reporting.stats import family_numbers
from mass_jax.reporting.table import Table, percent, span
from mass_jax.reporting.targets import points
from mass_jax.results import Results

BASE, ORACLE = "base", "oracle_gold_family"
CHANGED = (BASE, "mass_no_update", "mass_frozen_generator")
"""Rows from which the headline's verdicts are followed, where a run has them."""
THIRDS = ("weakest", "middle", "strongest")


class Runs(NamedTuple):
    """What S runs answered on the same P problems.

    Attributes:
      correct: verdicts [S, P] of every row that all runs have, in the order of their tables.
      families: of the problems, [P].
      difficulty: likewise.
      results: of the first run: what rows are called, and which the runs are about.
    """

    correct: dict[str, Floats]
    families: NDArray[np.int64]
    difficulty: NDArray[np.int64]
    results: Results

    @property
    def seeds(self) -> int:
        """S."""
        return len(self.correct[BASE])


def load(folders: Sequence[Path]) -> Runs:
    """The verdicts of finished runs.

    Raises:
      RunError: one is not evaluated or is damaged, or they have other problems.
    """
    results = [load_results(folder) for folder in folders]
    asked = [_record(folder / "problems.json", ("family", "difficulty")) for folder in folders]
    for folder, problems in zip(folders, asked, strict=True):
        if problems != asked[0]:
            raise RunError(f"'{folder}' has other test problems than '{folders[0]}': give runs that differ in seeds.")
    names = [name for name in results[0].labels if all(name in each.labels for each in results)]
    paths = {name: [folder / "evaluation" / f"{name}.json" for folder in folders] for name in names}
    correct = {name: [_record(path, ("correct",))["correct"] for path in of_runs] for name, of_runs in paths.items()}
    if BASE not in correct or {len(row) for rows in correct.values() for row in rows} != {len(asked[0]["family"])}:
        raise RunError(f"'{folders[0]}' and others have no verdicts of the base on all problems: evaluate them again.")
    families, difficulty = (np.array(asked[0][name]) for name in ("family", "difficulty"))
    return Runs({name: np.array(rows, float) for name, rows in correct.items()}, families, difficulty, results[0])


def tables(runs: Runs) -> dict[str, Table]:
    """All tables, by name; those that compare with the headline are empty where the runs have none."""
    found = {"accuracy": accuracy_table(runs)}
    if runs.results.headline in runs.correct:
        found |= {"paired": paired_table(runs), "gains": gains_table(runs), "changed": changed_table(runs)}
        if ORACLE in runs.correct:
            found["oracle"] = oracle_table(runs)
    return found


def accuracy_table(runs: Runs) -> Table:
    """Of every row, and its gain over the base."""
    rows = []
    for name, correct in runs.correct.items():
        found, gain = spread([correct], runs.families), spread([correct - runs.correct[BASE]], runs.families)
        cells = (percent(found.mean), span(found.ci95), percent(found.iqm), span(found.iqm_ci95))
        rows.append((label(name, runs.results), *cells, *_difference(gain)[:2]))
    columns = ("Method", "Mean, %", "95 % interval", "IQM, %", "95 % interval, IQM", "Over Base", "95 % interval, gain")
    return Table(columns, "l" + "r" * 6, rows)


def paired_table(runs: Runs) -> Table:
    """The headline over every other row, on the same problems."""
    main, rows = _headline(runs), []
    for name, correct in runs.correct.items():
        if name != main:
            found = spread([runs.correct[main] - correct], runs.families)
            above = f"{int(np.sum(found.by_seed_S > 0))} of {runs.seeds}"
            rows.append((label(name, runs.results), *_difference(found), above))
    columns = ("over", "Points", "95 % interval", "IQM", "95 % interval, IQM", "Seeds above")
    return Table((f"{label(main, runs.results)} {columns[0]}", *columns[1:]), "l" + "r" * 5, rows)


def gains_table(runs: Runs) -> Table:
    """The headline's gain over the base, by difficulty and by how much the base solves of a family."""
    main, rows = _headline(runs), []
    for group, kept_SxP in (*_levels(runs), *_thirds(runs)):
        base, solved, gain = (
            spread([column], runs.families, kept=kept_SxP)
            for column in (runs.correct[BASE], runs.correct[main], runs.correct[main] - runs.correct[BASE])
        )
        cells = (f"{kept_SxP.sum() / runs.seeds:.0f}", percent(base.mean), percent(solved.mean))
        rows.append((group, *cells, *_difference(gain)[:2]))
    names = (f"{label(name, runs.results)}, %" for name in (BASE, main))
    return Table(("Problems", "n", *names, "Points", "95 % interval"), "lrrrrr", rows)


def changed_table(runs: Runs) -> Table:
    """How many verdicts turn from a row to the headline: means over seeds."""
    main, rows = runs.correct[_headline(runs)] > 0.5, []
    for name in CHANGED:
        if name in runs.correct and name != _headline(runs):
            before = runs.correct[name] > 0.5
            turned = (~before & main, before & ~main, before & main, ~before & ~main)
            rows.append((label(name, runs.results), *(f"{each.sum() / runs.seeds:.1f}" for each in turned)))
    columns = ("Wrong to right", "Right to wrong", "Right in both", "Wrong in both")
    return Table((f"From ... to {label(_headline(runs), runs.results)}", *columns), "lrrrr", rows)


def oracle_table(runs: Runs) -> Table:
    """The share of the oracle's gain over the base that rows have: of every seed, then over seeds."""
    rows = []
    for name, correct in runs.correct.items():
        if name not in (BASE, ORACLE):
            columns = [correct, runs.correct[BASE], runs.correct[ORACLE]]
            with np.errstate(divide="ignore", invalid="ignore"):
                found = spread(columns, runs.families, lambda row, base, oracle: (row - base) / (oracle - base))
            cells = (percent(found.mean), span(found.ci95), percent(found.iqm))
            shown = [cell.replace("-", "−") if np.isfinite(found.mean) else "–" for cell in cells]
            rows.append((label(name, runs.results), *shown))
    return Table(("Of the oracle's gain", "Mean, %", "95 % interval", "IQM, %"), "lrrr", rows)


def _levels(runs: Runs) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The problems of every difficulty, the same of all seeds."""
    for level in np.unique(runs.difficulty):
        yield f"difficulty {level}", np.tile(runs.difficulty == level, (runs.seeds, 1))


def _thirds(runs: Runs) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The problems of the third of families that the *other* seeds' bases solve least of, and so on.

    By its own base a seed's weakest families would be those in which that had bad luck, and gain by it.
    """
    base, groups = runs.correct[BASE], family_numbers(runs.families, len(runs.families))
    if runs.seeds < 2 or groups.max() + 1 < len(THIRDS):
        return
    ranks = []
    for seed in range(runs.seeds):
        solved = np.bincount(groups, np.delete(base, seed, axis=0).mean(axis=0)) / np.bincount(groups)
        order = np.argsort(np.argsort(solved, kind="stable"), kind="stable")
        ranks.append((order * len(THIRDS) // len(solved))[groups])
    for third, name in enumerate(THIRDS):
        yield f"{name} third of families, by other seeds' bases", np.stack(ranks) == third


def _headline(runs: Runs) -> str:
    assert runs.results.headline is not None
    return runs.results.headline


def _difference(found: Spread) -> tuple[str, str, str, str]:
    return points(found.mean), span(found.ci95, signed=True), points(found.iqm), span(found.iqm_ci95, signed=True)


def _record(path: Path, keys: Sequence[str]) -> dict[str, list[Any]]:
    """Some of what a file of a run holds.

    Raises:
      RunError: it is not there, or not whole.
    """
    try:
        found = records.loads(path.read_text(encoding="utf-8"))
        for key in keys:
            if not isinstance(found[key], list) or not all(isinstance(each, int | float) for each in found[key]):
                raise ValueError(f"{key} is no list of numbers")
        return {key: found[key] for key in keys}
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"'{path}' cannot be read ({error!r}): write it by python -m experiments.evaluate with the run's --config "
            "and --workdir."
        ) from None
