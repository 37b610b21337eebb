"""What it is worth to know before an update what it will gain: to decline it, or to choose what to practise on.

    python -m experiments.benchmarks.forecast --run=runs/demo --workdir=runs/forecast

Validation problems are answered with an update on each of several practice sets; then every way to decline, and to
choose, is held against these answers. Forecasts are cross-fitted: each comes from a fit without the problem's family.
Tokens and seconds add up those of the phases that a problem goes through, in batches that its neighbours share.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from experiments.benchmarks.kept import MINUS, keep, writable
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.forecast import observed
from mass_jax.inference.forecast.observed import Observed, Sample
from mass_jax.inference.forecast.regression import cross_fitted
from mass_jax.inference.options import MOST_EXAMPLES, Options
from mass_jax.reporting import stats
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study.load import load_problems
from mass_jax.tasks.base import Problem

LEAST = (0.0, 0.05, 0.1)
"""Gains below which an update is declined."""
SETS = (2, 4, 8)
UPDATE = ("adapt", "guard", "answer")
"""Phases that are left out where an update is declined."""
ALWAYS = "always update"
COLUMNS = ("Way", "Declined, %", "Tokens", "Seconds", "Accuracy, %", "Over always updating, points")


class Way(NamedTuple):
    """What came of a way to answer, the mean over draws of practice.

    Attributes:
      label: in the table.
      right_P: whether each problem is answered right.
      declined: the share of updates.
      tokens: a problem.
      seconds: a problem.
    """

    label: str
    right_P: np.ndarray
    declined: float
    tokens: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was observed, and what is expected of it by forecasts that have not seen the family.

    Attributes:
      found: N updates of each problem.
      batch: problems of a batch.
      simple_P: by the model's confidence alone.
      learned_PxN: by all signs.
    """

    found: Observed
    batch: int
    simple_P: np.ndarray
    learned_PxN: np.ndarray

    @property
    def gate_PxN(self) -> np.ndarray:
        """The scorer's own."""
        return np.array([[each.gate or 0.0 for each in row] for row in self.found.adapted_NxP]).T

    def tokens_PxN(self, *names: str) -> np.ndarray:
        """Of these phases."""
        rows = self.found.adapted_NxP
        return np.array([[sum(x.tokens for x in each.phases if x.name in names) for each in row] for row in rows]).T

    def seconds(self, *names: str) -> float:
        """Of these phases a problem."""
        told = [each.phases for row in self.found.adapted_NxP for each in row]
        return float(np.mean([sum(x.seconds for x in phases if x.name in names) for phases in told])) / self.batch

    @property
    def looking(self) -> float:
        """Seconds a problem of looking at the signs."""
        return float(np.mean(self.found.seconds)) / self.batch


def measure(adapter: MassAdapter, problems: Sequence[Problem], sets: int) -> Measured:
    """Updates of every problem on so many practice sets, after a batch that compiles."""
    batch = adapter.learner.batch
    observed.observe(adapter, problems[:batch], 1)
    found = observed.observe(adapter, problems, sets)

    def expected_PxN(sample: Sample) -> np.ndarray:
        values_PxN = np.zeros(found.judged_PxN.shape)
        values_PxN[found.judged_PxN] = cross_fitted(*sample)
        return values_PxN

    simple_PxN, learned_PxN = map(expected_PxN, (observed.of_answer(found), observed.of_practice(found)))
    return Measured(found, batch, simple_PxN[:, 0], learned_PxN)


def gated(label: str, at: Measured, writes_P: np.ndarray, updates_PxN: np.ndarray) -> Way:
    """Updates that are made or declined.

    Args:
      label: in the table.
      at: what was measured.
      writes_P: bool, whether practice is written.
      updates_PxN: bool, whether the steps are made, where it is.
    """
    updates_PxN = updates_PxN & writes_P[:, None]
    right_PxN = np.where(updates_PxN, at.found.after_PxN, at.found.before_P[:, None])
    tokens_PxN = at.tokens_PxN("answer_before") + writes_P[:, None] * at.tokens_PxN("write")
    tokens_PxN = tokens_PxN + updates_PxN * at.tokens_PxN(*UPDATE)
    seconds = at.seconds("answer_before") + writes_P.mean() * at.seconds("write", "weigh")
    seconds += updates_PxN.mean() * at.seconds(*UPDATE)
    return Way(label, right_PxN.mean(axis=1), 1 - updates_PxN.mean(), tokens_PxN.mean(), seconds)


def chosen(label: str, at: Measured, count: int, promise_PxN: np.ndarray) -> Way:
    """The most promising of every ``count`` sets that follow one another."""
    problems, sets = promise_PxN.shape
    groups = sets // count
    best_PxG = promise_PxN[:, : groups * count].reshape(problems, groups, count).argmax(axis=-1)
    places = np.arange(problems)[:, None], best_PxG + count * np.arange(groups)
    tokens = at.tokens_PxN("answer_before").mean() + count * at.tokens_PxN("write").mean()
    tokens += at.tokens_PxN(*UPDATE)[places].mean()
    seconds = at.seconds("answer_before", *UPDATE) + count * at.seconds("write", "weigh")
    return Way(label, at.found.after_PxN[places].mean(axis=1), 0.0, tokens, seconds)


def ways(at: Measured) -> Iterator[Way]:
    """All but those that are measured anew, in the order of the table."""
    found = at.found
    after_PxN, before_P = found.after_PxN, found.before_P
    none_P, all_P, all_PxN = before_P & False, before_P | True, after_PxN | True
    yield gated("never update", at, none_P, all_PxN)
    yield gated(ALWAYS, at, all_P, all_PxN)
    for least in LEAST:
        yield gated(f"decline below {least:g}, by confidence", at, at.simple_P >= least, all_PxN)
    for least in LEAST:
        way = gated(f"decline below {least:g}, learned", at, all_P, at.learned_PxN >= least)
        yield way._replace(seconds=way.seconds + at.looking)
    for least in LEAST:
        writes_P = at.simple_P >= least
        way = gated(f"decline below {least:g}, by both in turn", at, writes_P, at.learned_PxN >= least)
        yield way._replace(seconds=way.seconds + writes_P.mean() * at.looking)
    yield gated("decline, by an oracle", at, all_P, after_PxN >= before_P[:, None])._replace(
        tokens=np.nan, seconds=np.nan
    )
    for count in _counts(at):
        yield chosen(f"best of {count} sets, by the scorer's gate", at, count, at.gate_PxN)
        way = chosen(f"best of {count} sets, learned", at, count, at.learned_PxN)
        yield way._replace(seconds=way.seconds + count * at.looking)
        oracle = chosen(f"best of {count} sets, by an oracle", at, count, after_PxN.astype(float))
        yield oracle._replace(tokens=np.nan, seconds=np.nan)


def larger(adapter: MassAdapter, problems: Sequence[Problem], at: Measured) -> Iterator[Way]:
    """One set with as many examples as several have, which is learned from as a whole."""
    most = adapter.learner.actor.method.generator.examples
    for count in _counts(at):
        if (examples := count * most) > MOST_EXAMPLES:
            continue
        adapter.adapt(list(problems[: at.batch]), Options(examples=examples))
        draws = at.found.after_PxN.shape[1] // count
        rows = [
            adapter.adapt(
                list(problems),
                [Options(seed=number * len(problems) + i, examples=examples) for i in range(len(problems))],
            )
            for number in range(draws)
        ]
        grade, told = adapter.learner.actor.task.grade, [each for row in rows for each in row]
        right_DxP = [[each.correct for each in grade(problems, [one.answer for one in row])] for row in rows]
        tokens, seconds = np.mean([one.tokens for one in told]), np.mean([one.seconds for one in told]) / at.batch
        yield Way(f"one set of {examples} examples", np.mean(right_DxP, axis=0), 0.0, float(tokens), float(seconds))


def table(found: Sequence[Way], families_P: np.ndarray) -> Table:
    """A line a way."""
    always_P = next(way.right_P for way in found if way.label == ALWAYS)
    rows = []
    for way in found:
        gain = "–" if way.label == ALWAYS else _points(way.right_P, always_P, families_P)
        costs = ("–", "–") if np.isnan(way.tokens) else (f"{way.tokens:.0f}", f"{way.seconds:.3f}")
        rows.append((way.label, f"{100 * way.declined:.0f}", *costs, f"{100 * way.right_P.mean():.1f}", gain))
    return Table(COLUMNS, "lrrrrr", rows)


def pairs(found: Sequence[Way], families_P: np.ndarray) -> Table:
    """What the learned forecast adds to what is there without it."""
    by = {way.label: way.right_P for way in found}
    compared: list[tuple[str, str]] = []
    for label in by:
        simple = label.replace(", learned", ", by confidence")
        gate = label.replace(", learned", ", by the scorer's gate")
        compared += [(label, other) for other in (simple, gate) if other != label and other in by]
    rows = [(one, other, _points(by[one], by[other], families_P)) for one, other in compared]
    return Table(("Way", "Beside", "Difference, points"), "llr", rows)


def main() -> None:
    """Measures, and keeps both tables."""
    options = flags.FLAGS
    workdir, run = writable(Path(options.workdir)), Path(options.run)
    enable_compilation_cache()
    adapter = MassAdapter.load(run, options.arm, options.batch)
    problems = list(load_problems(run, "validation"))[: options.problems]
    at = measure(adapter, problems, options.sets)
    found = [*ways(at), *larger(adapter, problems, at)]
    families_P = at.found.families_P
    kept = {"rows": table(found, families_P), "pairs": pairs(found, families_P)}
    keep(workdir / "table.json", **kept)
    print("\n\n".join(map(to_markdown, kept.values())))


def _counts(at: Measured) -> list[int]:
    return [count for count in SETS if count <= at.found.after_PxN.shape[1]]


def _points(a_P: np.ndarray, b_P: np.ndarray, families_P: np.ndarray) -> str:
    """A paired difference with its interval."""
    found = stats.paired_difference(a_P, b_P, families_P)
    ends = found["ci95"]
    interval = "" if ends is None else f" ({100 * ends[0]:+.1f} to {100 * ends[1]:+.1f})"
    return f"{100 * found['diff']:+.1f}{interval}".replace("-", MINUS)


if __name__ == "__main__":
    flags.DEFINE_string("run", "runs/demo", "A trained run.")
    flags.DEFINE_string("arm", "mass", "Which of its arms.")
    flags.DEFINE_string("workdir", "runs/forecast", "Folder for the tables.")
    flags.DEFINE_integer("problems", 320, "Of the validation split.", lower_bound=4)
    flags.DEFINE_integer("sets", 8, "Practice sets of each problem.", lower_bound=2)
    flags.DEFINE_integer("batch", 40, "Problems at once.", lower_bound=1)
    program.run(main)
