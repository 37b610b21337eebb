"""How many validation problems a pretrained model solves in each of several wordings: greedy, and nothing is trained.

    python -m experiments.benchmarks.wordings --config=configs/gsm8k_smollm2.py --workdir=runs/wordings \
      --config.model.source=package:qwen2.5-coder-0.5b --prompts=gsm8k,mine.md --problems=24

A wording is a file of prompts, see mass_jax/tasks/mathematics/prompts. All are asked the same problems; lengths are the
config's. Rows are kept as they are measured, and the same command goes on; one with other wordings adds them.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.benchmarks.kept import alike, held, keep, writable
from mass_jax.errors import InputError
from mass_jax.mass.actor import Actor
from mass_jax.mass.generator import complete, solving
from mass_jax.models.pretrained import source
from mass_jax.reporting import stats
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study import entry, setup
from mass_jax.study.config import read
from mass_jax.study.schema import Config, Pretrained
from mass_jax.tasks.base import Problem

KEYS = ("prompts", "solution", "problems", "right", "ci95", "cut", "read", "written", "seconds")
COLUMNS = ("Prompts", "At most, tokens", "Problems", "Right", "%", "95 % interval", "Cut off", "Tokens read", "Written")


def measured(actor: Actor, problems: Sequence[Problem], batch: int) -> dict[str, Any]:
    """A row without its name, and the texts: greedy answers to the problems, graded.

    Args:
      actor: whose task has the wording.
      problems: at least 2.
      batch: so many at once; the last are filled up, so that one program is compiled.
    """
    limit, lengths = actor.method.lengths.solution, list[int]()
    texts, read, began = list[str](), list[int](), time.process_time()
    for start in range(0, len(problems), batch):
        places = [(start + i) % len(problems) for i in range(batch)]
        prompts = [actor.task.solve_prompt(problems[i].prompt) for i in places]
        found = complete(actor, None, prompts, jax.random.key(0), solving(actor, 1, 0.0))
        texts += [row[0] for row in found.texts]
        lengths += np.asarray(found.sequences.target).sum(axis=-1)[:, 0].tolist()
        read += [len(actor.tokenizer.encode(prompt)) for prompt in prompts]
    count = len(problems)
    right = [bool(verdict.correct) for verdict in actor.task.grade(problems, texts[:count])]
    return {
        "solution": limit,
        "problems": count,
        "right": sum(right),
        "ci95": stats.accuracy(right)["ci95"],
        "cut": sum(length >= limit for length in lengths[:count]),
        "read": float(np.mean(read[:count])),
        "written": float(np.mean(lengths[:count])),
        "seconds": (time.process_time() - began) / len(texts),
        "texts": [{"text": text, "right": correct} for text, correct in zip(texts, right, strict=False)],
    }


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows as a page shows them."""
    cells = []
    for row in rows:
        ends = " to ".join(f"{100 * end:.0f}" for end in row["ci95"])
        share = f"{100 * row['right'] / row['problems']:.0f}"
        counts = [str(row[key]) for key in ("solution", "problems", "right")]
        means = [f"{row[key]:.0f}" for key in ("read", "written")]
        cells.append((row["prompts"], *counts, share, ends, str(row["cut"]), *means))
    return Table(COLUMNS, "lrrrrrrrr", cells)


def main(config: Config, workdir: Path) -> None:
    """Measure what is not measured yet, and keep the table after every row."""
    options = flags.FLAGS
    if not isinstance(config.model, Pretrained) or "prompts" not in type(config.task).model_fields:
        raise InputError("this benchmark asks a pretrained model problems of mathematics: give a config of one.")
    path = writable(workdir) / "wordings.json"
    rows = held(path, KEYS, rows=None) or []
    problems = list(config.task.load("validation"))[: options.problems]
    if len(problems) < 2:
        raise InputError("task.validation_problems: give 2 or more, for an interval.")
    enable_compilation_cache()
    params = None
    for row in rows:
        alike(path, row, model=config.model.source)
    for name in options.prompts:
        given = config.given
        asked = read(given | {"task": given["task"] | {"prompts": name}})
        key = [name, asked.lengths.solution, len(problems)]
        if any([row["prompts"], row["solution"], row["problems"]] == key for row in rows):
            continue
        method = setup.make_method(asked)
        if params is None:
            params = source.load_params(config.model.source, method.model)
        rows.append(
            {"prompts": name, "model": config.model.source}
            | measured(Actor(params, method, setup.make_domain(asked)), problems, options.batch)
        )
        write_atomically(path, json.dumps(rows, indent=1) + "\n")
        keep(workdir / "wordings.table.json", rows=table(rows))
    print(to_markdown(table(rows)))


if __name__ == "__main__":
    flags.DEFINE_list("prompts", ["gsm8k"], "Files of prompts, or names of those that come with the package.")
    flags.DEFINE_integer("problems", 24, "Of the validation split, the first.", lower_bound=2)
    flags.DEFINE_integer("batch", 24, "Problems at once.", lower_bound=1)
    entry.run(main)
