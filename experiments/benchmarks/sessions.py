"""What sessions gain, what they forget, and where they collapse, on validation families of a trained run.

    python -m experiments.benchmarks.sessions --run=runs/demo --workdir=runs/sessions

The arm's guard has to be calibrated (`experiments.calibrate_guard`). A row is a policy on a stream of new problems:
``related``, of one family; ``shifting``, of four, one after the other; ``alternating``, of two in turn; ``many``, each
of another family, long. Seeds draw families and problems; all policies get the same. What an adapter has forgotten is
asked of it where the stream ends (of ``many``: on the way, too), without a further update: on problems of families that
were not in the stream, on the guard's canaries, and on new problems of the stream's families.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from experiments.benchmarks.kept import alike, held, interval_figure, keep, mean_figure, writable
from mass_jax.errors import InputError
from mass_jax.guard import canaries, trust_region
from mass_jax.guard.calibration import Calibration
from mass_jax.guard.guard import calibrated
from mass_jax.inference import phases
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import Options
from mass_jax.inference.sessions.policy import Policy
from mass_jax.inference.sessions.session import Session
from mass_jax.parallel.mesh import entered
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study.load import read_config
from mass_jax.tasks.base import Problem
from mass_jax.tasks.domain import Drawn

CONTROL = "carry 1, no guard"
POLICIES = {
    "reset": Policy(),
    "carry 0.5": Policy(decay=0.5),
    "carry 0.9": Policy(decay=0.9),
    "replay, from the base": Policy(buffer=64),
    "carry 0.5 and replay": Policy(decay=0.5, buffer=64),
    "carry 1": Policy(decay=1.0),
    CONTROL: Policy(decay=1.0),
}
STREAMS = {"related": 1, "shifting": 4, "alternating": 2}
"""Families of each."""
MANY = "many"
MARKS = (1, 5, 10, 20, 50, 100, 200)
"""Updates of ``many`` after which the adapter is asked."""
HELD, EARLIER = 48, 12
"""Problems of families that are not in the stream; and new ones of each of the stream's families."""
ASKED = ("held", "canaries", "earlier", "last")
KEYS = ("policy", "stream", "seed", "length", "base", "right", "marks")
THIRDS = ("First third", "Second third", "Last third")


class Stream(NamedTuple):
    """Problems in a row, and what is asked of an adapter beside them.

    Attributes:
      name: of `STREAMS`, or `MANY`.
      seed: of all draws.
      problems: N.
      asked: by names of `ASKED`.
    """

    name: str
    seed: int
    problems: list[Problem]
    asked: dict[str, list[Problem]]


def streams(task: Drawn, guard: Calibration, length: int, many: int, seed: int) -> Iterator[Stream]:
    """Those of one seed; problems are drawn anew, of families of the validation split.

    Args:
      task: the run's.
      guard: has the canaries.
      length: of each but `MANY`.
      many: its length.
      seed: of all draws.
    """
    data = task.data()
    rules, families = data.make_rules(), list(data.families("validation"))

    def draw(rng: np.random.Generator, chosen: Sequence[int]) -> list[Problem]:
        return [data.draw_problem(rules, family, rng) for family in chosen]

    for place, name in enumerate((*STREAMS, MANY)):
        rng = np.random.default_rng((seed, place))
        order = [families[i] for i in rng.permutation(len(families))]
        if name == MANY:
            count = max(1, len(order) // 2)
            stream = [order[i % count] for i in range(many)]
        elif name == "shifting":
            count = STREAMS[name]
            stream = [order[i * count // length] for i in range(length)]
        else:
            count = STREAMS[name]
            stream = [order[i % count] for i in range(length)]
        others = order[count:] or order
        earlier = [family for family in dict.fromkeys(stream) if family != stream[-1]][:4]
        yield Stream(
            name,
            seed,
            draw(rng, stream),
            {
                "held": draw(rng, [others[i % len(others)] for i in range(HELD)]),
                "canaries": list(guard.canaries),
                "earlier": draw(rng, [family for family in earlier for _ in range(EARLIER)]),
                "last": draw(rng, [stream[-1]] * EARLIER),
            },
        )


def measured(adapter: MassAdapter, policy: str, stream: Stream) -> dict[str, Any]:
    """A row: what was answered right, with the base's, and what the adapter knew at its marks; shares are from 0 to 1.

    Args:
      adapter: with its guard, which `CONTROL` is without.
      policy: of `POLICIES`.
      stream: all of it.
    """
    session = Session(replace(adapter, guard=None) if policy == CONTROL else adapter, POLICIES[policy])
    ends = [mark for mark in MARKS if mark < len(stream.problems)] if stream.name == MANY else []
    texts, before, outcomes = list[str](), list[str](), list[str]()
    marks = [_known(adapter, None, stream, 0)]
    for place, problem in enumerate(stream.problems, start=1):
        # Of the problem only its text: a reference is for grading.
        found = session.adapt(problem.prompt, Options(seed=place - 1))
        texts.append(found.answer)
        before.append(found.answer_before)
        outcomes.append(found.verdict.outcome if found.verdict else "accepted" if found.updated else "none")
        if place in (*ends, len(stream.problems)):
            marks.append(_known(adapter, session.state.adapter, stream, place))
    task = adapter.learner.actor.task
    right, base = ([each.correct for each in task.grade(stream.problems, some)] for some in (texts, before))
    return {
        "policy": policy,
        "stream": stream.name,
        "seed": stream.seed,
        "length": len(stream.problems),
        "right": list(map(int, right)),
        "base": list(map(int, base)),
        "outcomes": outcomes,
        "marks": marks,
    }


def _known(adapter: MassAdapter, carried: Any, stream: Stream, after: int) -> dict[str, Any]:
    """What is answered right under a carried adapter, or by the base."""
    actor = adapter.learner.actor
    rows = None if carried is None else jax.tree.map(lambda leaf: leaf[None], carried)
    found: dict[str, Any] = {"after": after, "norm": 0.0}
    with entered(adapter.learner.mesh):
        if rows is not None:
            found["norm"] = float(trust_region.norms(phases.fresh_adapter(actor), rows)[0])
        for name, problems in stream.asked.items():
            if problems:
                found[name] = float(canaries.asked(actor, rows, problems, 1)[0].mean())
    return found


def gains(rows: Sequence[dict[str, Any]]) -> Table:
    """Points over the base by the place in the stream; means over seeds."""
    lines = []
    for stream in STREAMS:
        for policy in POLICIES:
            some = [row for row in rows if (row["stream"], row["policy"]) == (stream, policy)]
            difference = [100 * (np.array(row["right"]) - np.array(row["base"])) for row in some]
            thirds = [[float(part.mean()) for part in np.array_split(each, 3)] for each in difference]
            cells = [interval_figure([each[i] for each in thirds], 1) for i in range(3)]
            base = mean_figure([100 * float(np.mean(row["base"])) for row in some], 1)
            held_back = [
                100 * float(np.mean([each in ("scaled", "refused") for each in row["outcomes"]])) for row in some
            ]
            lines.append((stream, policy, base, *cells, mean_figure(held_back, 0)))
    return Table(("Stream", "Policy", "Base, %", *THIRDS, "Scaled or refused, %"), "llrrrrr", lines)


def forgotten(rows: Sequence[dict[str, Any]]) -> Table:
    """Points that the carried adapter is above the base when the stream has ended; means over seeds."""
    lines = []
    for stream in STREAMS:
        for policy in POLICIES:
            some = [row["marks"] for row in rows if (row["stream"], row["policy"]) == (stream, policy)]
            cells = [
                interval_figure([100 * (marks[-1][name] - marks[0][name]) for marks in some if name in marks[0]], 1)
                for name in ASKED
            ]
            lines.append((stream, policy, *cells, mean_figure([marks[-1]["norm"] for marks in some], 2)))
    names = ("Other families", "Canaries", "Earlier families", "Last family", "Norm")
    return Table(("Stream", "Policy", *names), "llrrrrr", lines)


def collapse(rows: Sequence[dict[str, Any]]) -> Table:
    """The share of other families' problems that is answered right under the carried adapter, after so many updates."""
    lines = []
    for policy in POLICIES:
        some = [row["marks"] for row in rows if (row["stream"], row["policy"]) == (MANY, policy)]
        by_mark = [[100 * each["held"] for marks in some for each in marks if each["after"] == n] for n in (0, *MARKS)]
        lines.append((policy, *(mean_figure(values, 1) for values in by_mark)))
    return Table(("Policy", "Base, %", *(f"After {n}, %" for n in MARKS)), "l" + "r" * (1 + len(MARKS)), lines)


def tables(rows: Sequence[dict[str, Any]]) -> dict[str, Table]:
    """All of them, with dashes for what is not measured."""
    return {"gains": gains(rows), "forgotten": forgotten(rows), "collapse": collapse(rows)}


def main() -> None:
    """Measures what is not measured yet, and keeps the tables after every row."""
    options = flags.FLAGS
    workdir, run = writable(Path(options.workdir)), Path(options.run)
    path = workdir / "results.json"
    rows = held(path, KEYS, rows=None) or []
    enable_compilation_cache()
    adapter, task = MassAdapter.load(run, options.arm), read_config(run).task
    calibration = calibrated(adapter.guard, run, options.arm)
    if not isinstance(task, Drawn):
        raise InputError(f"streams are drawn from families, and the domain of '{run}' has none: name another run.")
    for row in rows:
        length = options.many if row["stream"] == MANY else options.length
        alike(path, row, model=calibration.model, length=length)
    for seed in range(options.seeds):
        for stream in streams(task, calibration, options.length, options.many, seed):
            for policy in POLICIES:
                row = {"policy": policy, "stream": stream.name, "seed": seed, "length": len(stream.problems)}
                if any(row.items() <= each.items() for each in rows) or (policy, stream.name) == ("reset", MANY):
                    continue
                rows.append({"model": calibration.model} | measured(adapter, policy, stream))
                write_atomically(path, json.dumps(rows, indent=1) + "\n")
                keep(workdir / "table.json", **tables(rows))
                print(json.dumps(row | {"right": float(np.mean(rows[-1]["right"]))}), flush=True)
    for table in tables(rows).values():
        print(to_markdown(table))


if __name__ == "__main__":
    flags.DEFINE_string("run", "runs/demo", "A trained run, whose guard is calibrated.")
    flags.DEFINE_string("arm", "mass", "Which of its arms.")
    flags.DEFINE_string("workdir", "runs/sessions", "Folder for results.json and the tables.")
    flags.DEFINE_integer("length", 24, "Problems of a stream.", lower_bound=4)
    flags.DEFINE_integer("many", 200, "Problems of the long stream.", lower_bound=1)
    flags.DEFINE_integer("seeds", 5, "Draws of families and problems.", lower_bound=1)
    program.run(main)
