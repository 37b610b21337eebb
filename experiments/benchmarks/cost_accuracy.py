"""What an update costs and what it gains, beside spending as much on more samples.

    python -m experiments.benchmarks.cost_accuracy --run=runs/demo --workdir=runs/cost

A trained model answers problems of validation families: at once, by votes among sampled solutions, and after updates on
more or less practice, in more or fewer steps. Of each way the page has tokens (written and learned from) and seconds a
problem, and which ways nothing cheaper equals; pareto.png shows them. Seconds are of batches, after a first one that
compiles.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from experiments.benchmarks.kept import alike, held, keep, writable
from mass_jax.guard.calibration import fingerprint
from mass_jax.inference.adapted import Adapted
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import MOST_VOTES, Options
from mass_jax.mass.actor import Actor
from mass_jax.mass.episodes import solved
from mass_jax.mass.generator import solving
from mass_jax.reporting import pareto, stats
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study.load import load_problems
from mass_jax.tasks.base import Problem, StatesAnswer

EXAMPLES = (1, 2, 4, 6, 12, 24)
STEPS = (1, 2, 4)
VOTES = (3, 9, 27, MOST_VOTES)
COLUMNS = ("Way", "Tokens a problem", "Seconds a problem", "Accuracy, %", "95 % interval", "Nothing cheaper equals it")


class Way(NamedTuple):
    """A way to answer.

    Attributes:
      label: in the table.
      answer: problems to texts, and to the tokens of each.
    """

    label: str
    answer: Callable[[Sequence[Problem]], tuple[list[str], list[int]]]


def ways(adapter: MassAdapter) -> Iterator[Way]:
    """All that are possible in the domain, cheaper ones first within a kind."""

    def of(
        options: Options, model: MassAdapter = adapter
    ) -> Callable[[Sequence[Problem]], tuple[list[str], list[int]]]:
        def answer(problems: Sequence[Problem]) -> tuple[list[str], list[int]]:
            found: list[Adapted] = model.adapt(list(problems), [replace(options, seed=i) for i in range(len(problems))])
            return [each.answer for each in found], [each.tokens - _unused(each) for each in found]

        return answer

    learner = adapter.learner
    counted = isinstance(learner.actor.task, StatesAnswer)
    yield Way("greedy, no update", of(Options(update=False)))
    for votes in VOTES:
        if counted:
            yield Way(f"majority of {votes}, no update", of(Options(update=False, votes=votes)))
        yield Way(f"likeliest of {votes}, no update", partial(likeliest, learner.actor, votes))
    inner, most = learner.actor.method.inner, learner.actor.method.generator.examples
    splits = [(m, k) for m in EXAMPLES for k in STEPS if inner.schedule == "same" or m % k == 0]
    for m, k in splits:
        if k == inner.steps or m == most:
            yield Way(f"update, m = {m}, K = {k}", of(Options(examples=m, steps=k)))
    if counted:
        yield Way(f"update, m = {most}, majority of 9", of(Options(votes=9)))
    uniform = replace(adapter, learner=replace(learner, recipe=replace(learner.recipe, weights="uniform")))
    yield Way(f"update, m = {most}, uniform weights, no gate", of(Options(), uniform))


def likeliest(actor: Actor, count: int, problems: Sequence[Problem]) -> tuple[list[str], list[int]]:
    """The sampled solution with the largest mean log-probability a token, of ``count``."""
    prompts = [actor.task.solve_prompt(problem.prompt) for problem in problems]
    found = solved(actor, None, problems, prompts, jax.random.key(0), solving(actor, count, 1.0))
    lengths_PxN = np.asarray(found.sequences.target).sum(axis=-1)
    best_P = (found.log_probs_PxS / np.maximum(lengths_PxN, 1)).argmax(axis=-1)
    texts = [row[i] for row, i in zip(found.texts, best_P, strict=True)]
    return texts, lengths_PxN.sum(axis=-1).tolist()


def measured(way: Way, adapter: MassAdapter, problems: Sequence[Problem]) -> dict[str, Any]:
    """A row: tokens and seconds a problem, and the share of right answers."""
    size = adapter.learner.batch
    way.answer(problems[:size])
    texts, tokens, began = list[str](), list[int](), time.perf_counter()
    for start in range(0, len(problems), size):
        some, spent = way.answer(problems[start : start + size])
        texts, tokens = texts + some, tokens + spent
    seconds = time.perf_counter() - began
    verdicts = adapter.learner.actor.task.grade(problems, texts)
    right = stats.accuracy([each.correct for each in verdicts], [problem.family for problem in problems])
    return {
        "way": way.label,
        "tokens": float(np.mean(tokens)),
        "seconds": seconds / len(problems),
        "accuracy": right["accuracy"],
        "ci95": right["ci95"],
    }


def front(rows: Sequence[dict[str, Any]], cost: str) -> list[bool]:
    """Of each row whether no other is as good and costs no more (Pareto)."""

    def beaten(row: dict[str, Any], by: dict[str, Any]) -> bool:
        no_worse = by[cost] <= row[cost] and by["accuracy"] >= row["accuracy"]
        return no_worse and (by[cost] < row[cost] or by["accuracy"] > row["accuracy"])

    return [not any(beaten(row, other) for other in rows) for row in rows]


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows, and by which cost each is on the Pareto front."""
    fronts, cells = {cost: front(rows, cost) for cost in ("tokens", "seconds")}, []
    for i, row in enumerate(rows):
        ends = row["ci95"]
        interval = "–" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"
        numbers = (f"{row['tokens']:.0f}", f"{row['seconds']:.3f}", f"{100 * row['accuracy']:.1f}", interval)
        cells.append((row["way"], *numbers, ", ".join(cost for cost in fronts if fronts[cost][i]) or "–"))
    return Table(COLUMNS, "lrrrrl", cells)


def main() -> None:
    """Measures what is not measured yet, and keeps the table after every row."""
    options = flags.FLAGS
    workdir, run = writable(Path(options.workdir)), Path(options.run)
    path = workdir / "results.json"
    rows = held(path, ("way", "tokens", "seconds", "accuracy"), rows=None) or []
    enable_compilation_cache()
    adapter = replace(MassAdapter.load(run, options.arm, options.batch), guard=None)
    problems = list(load_problems(run, "validation"))[: options.problems]
    learner = adapter.learner
    origin = {"model": fingerprint((learner.actor.params, learner.eta)), "problems": len(problems)}
    for row in rows:
        alike(path, row, **origin)
    for way in ways(adapter):
        if any(row["way"] == way.label for row in rows):
            continue
        rows.append(origin | measured(way, adapter, problems))
        write_atomically(path, json.dumps(rows, indent=1) + "\n")
        keep(workdir / "table.json", rows=table(rows))
        print(json.dumps(rows[-1]), flush=True)
    print(to_markdown(table(rows)))
    print(pareto.save_plot(table(rows), workdir))


def _unused(adapted: Adapted) -> int:
    """Tokens of the answer before, which is made to be shown, where an update stands behind the answer."""
    return adapted.phases[0].tokens if adapted.updated else 0


if __name__ == "__main__":
    flags.DEFINE_string("run", "runs/demo", "A trained run.")
    flags.DEFINE_string("arm", "mass", "Which of its arms.")
    flags.DEFINE_string("workdir", "runs/cost", "Folder for results.json and the table.")
    flags.DEFINE_integer("problems", 160, "Of the validation split.", lower_bound=2)
    flags.DEFINE_integer("batch", 40, "Problems at once.", lower_bound=1)
    program.run(main)
