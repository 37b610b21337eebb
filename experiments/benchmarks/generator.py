"""What a generator learns from each reward, on families that its training does not see.

    python -m experiments.benchmarks.generator --config=configs/demo.py --workdir=runs/generator --seeds=0,1,2,3,4

Every reward of `mass.rewards` trains the same base and scorer with all else equal, once a seed. Rows of `OTHERS` train
without a reward, or with something else changed. Rewards that compare sets have four of a problem, and a
fourth of the problems: as many texts. Rows are measured on ``gate.problems`` problems of validation families, with
``--split=train`` on as many of the families that are trained on, or with ``--split=test`` on all of the test families:
what is written, and what the model solves as it is, adapted to its own practice at uniform weights, and by its
scorer's. Rows are kept as they are measured; the same command goes on, and one with other rows or seeds adds them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from absl import flags

from experiments.benchmarks.kept import held, interval_figure, keep, mean_figure
from mass_jax.mass.practice import each_example
from mass_jax.mass.rewards import REWARDS
from mass_jax.parallel import hosts
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study import entry, setup
from mass_jax.study.arms import ARMS, DIRECT
from mass_jax.study.config import read
from mass_jax.study.decomposition import d_prime, decomposition
from mass_jax.study.evaluate import base_state
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.schema import Config
from mass_jax.study.study import Study, open_study, train_arm
from mass_jax.study.views import share_of
from mass_jax.tasks.base import KnowsFamily

OTHERS: dict[str, dict[str, Any]] = {
    "frozen": {"generator_rate": 0.0, "attribution_weight": 0.0},  # the scorer alone
    "solve": {  # the model alone, by references: L_solve. It writes nothing, of which a KL could be
        "mode": "gold",
        "practice": False,
        "solve_weight": 1.0,
        "generator_rate": 0.5,
        "step_kl": 0.0,
    },
    "scorer_solve": {"reward": "scorer", "solve_weight": 1.0},  # both: what is told apart bounds what is chosen
    "privileged_solve": {"reward": "privileged", "solve_weight": 1.0},
    "z_scores": {"reward": "attribution", "credit_scale": 0.0},
    "siblings": {"reward": "attribution", "siblings": 4},
    "adapters": {"reward": "attribution", "adapters": 4},
    "verifier": {"mode": "verifier"},
    "adam": {"optimizer": "adam", "generator_rate": 3e-3, "step_kl": 0.0},  # rates: the better of two, on rules 4
    "muon": {"optimizer": "muon", "generator_rate": 2e-2, "step_kl": 0.0},
}
"""Rows without a reward of their own: these fields of ``train`` differ."""
ROWS = (*OTHERS, *sorted(REWARDS))
SEEDS = range(5)
SETS = 4
"""Sets of a problem where a reward compares them."""
COLUMNS = {
    "well_formed": "Well formed, %",
    "on_topic": "On topic, of those, %",
    "right": "Right, of all, %",
    "right_solved": "Right, of what it solves un-adapted, %",
    "right_unsolved": "Right, of what it does not, %",
    "distinct": "Distinct, of the well formed, %",
    "distinct_2": "Distinct pairs of words, %",
    "un_adapted": "Un-adapted, %",
    "uniform": "Uniform weights, %",
    "scorer": "Own scorer, %",
    "update": "The update's gain",
    "recovered": "Of the oracle's gain, %",
    "d_prime": "d' at the end",
}
"""Of the rows; the update's gain is that of the own scorer's accuracy, or of uniform weights', over the un-adapted."""
COMPARED = ("on_topic", "right", "un_adapted", "uniform", "scorer", "update")
"""The columns in which rows are compared seed by seed."""

ORACLE = ARMS["oracle_gold_family"]


def measured(study: Study, name: str, split: str) -> dict[str, dict[str, float]]:
    """What a model writes and solves, in per cent; it is trained where it has to be. With the base comes the oracle."""
    state = base_state(study) if name == "base" else train_arm(study, name)
    problems = getattr(study.splits, split)
    problems = problems if split == "test" else problems[: study.config.gate.problems]
    evaluator = Evaluator(study, {name: state}, problems, study.config.seed + 2)
    found = decomposition(evaluator)[name]
    written, solved = found["practice"], found["accuracy"]
    values = {"well_formed": written["well_formed"], "right": written["correct"], "distinct": written["distinct"]}
    values["distinct_2"] = written["distinct_2"]
    values |= {"on_topic": share_of(written["on_family"], written["well_formed"])} | solved
    values["update"] = solved["scorer" if "scorer" in solved else "uniform"] - solved["un_adapted"]
    values |= by_solved(evaluator, name)
    row = {column: 100 * value for column, value in values.items()}
    if name == ORACLE.model:
        verdicts = evaluator.correct(evaluator.run(name, ORACLE.recipe))
        return {name: row, "oracle": {"uniform": 100 * float(np.mean(verdicts))}}
    if ends := d_prime(study.workdir / name):
        row["d_prime"] = ends["end"]
    return {name: row}


def by_solved(evaluator: Evaluator, name: str) -> dict[str, float]:
    """The share of right practice for the problems that the model solves as it is, and for those that it does not.

    Where they are far apart, the model practises what it believes the problem to be about: then the problems that it
    takes for others bound what any reward can teach its generator.
    """
    task = cast(KnowsFamily, evaluator.study.domain.task)  # of other domains nothing is known to be right
    right = [each_example(task.is_correct, batch, sets.texts) for batch, sets in evaluator.own_practice(name)]
    right_P = evaluator.unfilled([hosts.whole(each_PxM).mean(axis=1) for each_PxM in right])
    solved_P = evaluator.correct(evaluator.run(name, DIRECT)) > 0
    split = {"right_solved": right_P[solved_P], "right_unsolved": right_P[~solved_P]}
    return {column: float(shares.mean()) for column, shares in split.items() if shares.size}


def recovered(row: Mapping[str, float], rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """How much of the oracle's gain over the base a model has, in per cent; nothing where the oracle gains nothing."""
    base = rows["base"]["un_adapted"]
    if not (gain := rows["oracle"]["uniform"] - base):
        return {}
    return {"recovered": 100 * (row["scorer" if "scorer" in row else "uniform"] - base) / gain}


def arms(problems: int) -> dict[str, Any]:
    """One arm a seed and row, whichever are asked for: all lie in one folder."""
    found = {}
    for seed in SEEDS:
        for name in ROWS:
            train = OTHERS.get(name) or {"reward": name}
            if name in REWARDS and REWARDS[name].compares_sets:
                train = train | {"sets": SETS, "problems": problems // SETS}
            found[f"{name}_{seed}"] = {"seed": seed, "train": train}
    return found


def by_seed(rows: Mapping[str, Mapping[str, float]]) -> Table:
    """One row a model."""
    lines = []
    for name, row in rows.items():
        reward, _, seed = name.rpartition("_")
        lines.append((reward or name, seed if reward else "", *(_figure([row], column) for column in COLUMNS)))
    return Table(("Row", "Seed", *COLUMNS.values()), "ll" + "r" * len(COLUMNS), lines)


def over_seeds(rows: Mapping[str, Mapping[str, float]]) -> Table:
    """One row a reward: means over seeds, and their standard deviations where there are several."""
    groups: dict[str, list[Mapping[str, float]]] = {}
    for name, row in rows.items():
        groups.setdefault(name.rpartition("_")[0] or name, []).append(row)
    lines = [
        (reward, str(len(group)), *(_figure(group, column) for column in COLUMNS)) for reward, group in groups.items()
    ]
    return Table(("Row", "Seeds", *COLUMNS.values()), "lr" + "r" * len(COLUMNS), lines)


def paired(rows: Mapping[str, Mapping[str, float]], to: str = "scorer") -> Table:
    """How far the generators of one reward are above those of each other row, seed by seed."""
    lines, groups = [], dict[str, list[tuple[Mapping[str, float], Mapping[str, float]]]]()
    for name, row in rows.items():
        other, _, seed = name.rpartition("_")
        if other and other != to and (own := rows.get(f"{to}_{seed}")):
            groups.setdefault(other, []).append((own, row))
    for other, pairs in groups.items():
        figures = []
        for column in COMPARED:
            both = [(one[column], two[column]) for one, two in pairs if column in one and column in two]
            figures.append(interval_figure([one - two for one, two in both], 1))
        lines.append((other, str(len(pairs)), *figures))
    return Table((f"{to} over", "Seeds", *(COLUMNS[column] for column in COMPARED)), "lr" + "r" * len(COMPARED), lines)


def tables(rows: Mapping[str, Mapping[str, float]]) -> dict[str, Table]:
    """All tables, by name."""
    return {"by_seed": by_seed(rows), "over_seeds": over_seeds(rows), "paired": paired(rows)}


def main(config: Config, workdir: Path) -> None:
    """Train, measure, and keep the tables after every row."""
    setup.check_families(config, "this benchmark")
    enable_compilation_cache()
    values = flags.FLAGS
    config = read(config.given | {"arms": arms(config.train.problems)})
    path = workdir / f"{values.split}.json"
    rows = {row.pop("name"): row for row in held(path, ("name",), rows=None) or []}
    with open_study(config, workdir) as study:
        for name in ("base", *(f"{row}_{seed}" for seed in values.seeds for row in values.rows or ROWS)):
            if name in rows:
                continue
            rows |= measured(study, name, values.split)
            if name != "base":
                rows[name] |= recovered(rows[name], rows)
            write_atomically(path, json.dumps([{"name": key} | row for key, row in rows.items()], indent=1) + "\n")
            keep(workdir / f"{values.split}.table.json", **tables(rows))
            print(to_markdown(by_seed({name: rows[name]})), flush=True)
    print("\n\n".join(map(to_markdown, (over_seeds(rows), paired(rows)))))


def _figure(rows: Sequence[Mapping[str, float]], column: str) -> str:
    return mean_figure([row[column] for row in rows if column in row], 2 if column == "d_prime" else 1)


if __name__ == "__main__":
    program.define_names("rows", None, ROWS, "Rows to measure; all where not given.")
    program.define_numbers("seeds", (0,), "Seeds of the training.", least=0, most=max(SEEDS))
    flags.DEFINE_enum("split", "validation", ["train", "validation", "test"], "Whose families are measured.")
    entry.run(main)
