"""Evaluation by lm-evaluation-harness: a model class that adapts to every request before it answers it.

    pip install -e '.[eval]'
    python -m experiments.harness --config=configs/smollm2_135m.py --workdir=runs/smollm2_135m --arm=mass
    python -m experiments.harness ... --arm=base --tasks=path/to/task.yaml,path/to/another.yaml

Without ``--tasks`` the study's own test split is written as a local JSON task and evaluated. What the harness calls a
context is taken as a problem: the study's domain puts its own prompt around it, so a task is to give the bare problem,
without examples and without a chat template. Results are in ``<workdir>/harness-<arm>.json``.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import lm_eval
import numpy as np
import yaml
from absl import flags
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
from ml_collections import ConfigDict

from experiments.evaluate import Evaluator, base_state
from mass_jax.mass import inner
from mass_jax.mass.arms import CONTROLS, METHODS, Arm
from mass_jax.mass.method import Method
from mass_jax.mass.outer import TrainState
from mass_jax.mass.packing import pack
from mass_jax.models import transformer
from mass_jax.models.sampling import bucket
from mass_jax.training import config as command_line
from mass_jax.training.compilation import enable_compilation_cache
from mass_jax.training.errors import InputError
from mass_jax.training.study import Study, open_study, train_arm
from mass_jax.types import Array, Params, PyTree, Sequences


class AdaptedLM(LM):
    """A study's model for the harness. All of it is deterministic by the study's seed."""

    def __init__(self, study: Study, state: TrainState, arm: str):
        """Take one row of the table.

        Args:
          study: the study.
          state: the trained model and scorer that the arm uses.
          arm: its name.

        Raises:
          InputError: the arm is unknown, or needs more than a problem's prompt.
        """
        super().__init__()
        self.study, self.state, self.arm = study, state, named_arm(arm)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy answers of up to ``config.lengths.solution`` tokens, cut before any of the ``until`` strings."""
        contexts, settings = zip(*(request.args for request in requests), strict=True)
        if any(each.get("do_sample") or each.get("temperature") for each in settings):
            raise InputError(
                "the task asks for sampled answers, but adapted models answer greedily: set do_sample off."
            )
        evaluator = self._evaluator(contexts)
        outcomes = evaluator.run(self.arm, self.state.params, self.state.eta)
        texts = [text for outcome in outcomes for text in outcome.texts]
        return [_cut(text, each.get("until", [])) for text, each in zip(texts, settings, strict=False)]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Of every continuation after its context: the log-probability, and whether it is the greedy one."""
        asked: dict[str, list[str]] = {}
        for request in requests:
            asked.setdefault(request.args[0], []).append(request.args[1])
        width = max(map(len, asked.values()))
        evaluator, method = self._evaluator(list(asked)), self.study.method
        found: dict[tuple[str, str], tuple[float, bool]] = {}
        for problems, ready in evaluator.adapted(self.arm, self.state.params, self.state.eta, method):
            rows = [asked[problem.prompt] for problem in problems]
            pairs = [
                (prompt, row[i] if i < len(row) else "")
                for prompt, row in zip(ready.prompts, rows, strict=True)
                for i in range(width)
            ]
            encode, context = self.study.domain.tokenizer.encode, method.model.context
            length = bucket(max(len(encode(before)) + len(encode(text)) + 1 for before, text in pairs), context)
            packed = pack(self.study.domain.tokenizer, pairs, length, "model.context", end=False)
            sequences = Sequences(*(leaf.reshape(len(rows), width, length) for leaf in packed))
            scores = _continuations(method, self.state.params, ready.adapters, sequences)
            for problem, row, totals, greedy in zip(problems, rows, *map(np.asarray, scores), strict=True):
                for text, total, likeliest in zip(row, totals, greedy, strict=False):
                    found[problem.prompt, text] = float(total), bool(likeliest)
        return [found[request.args] for request in requests]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Not available: a text without a problem is nothing to adapt to."""
        raise InputError("the task asks for the perplexity of whole texts, but there is no problem to adapt to.")

    def _evaluator(self, contexts: Sequence[str]) -> Evaluator:
        problems = [self.study.domain.task.problem(context) for context in contexts]
        return Evaluator(self.study, problems, self.study.config.seed + 1)


def named_arm(name: str) -> Arm:
    """The arm, if it can answer what only a prompt is known of.

    Raises:
      InputError: if it cannot, or there is none.
    """
    able = [
        each for each, arm in (METHODS | CONTROLS).items() if not arm.privileged and arm.practice != "other_problem"
    ]
    if name not in able:
        raise InputError(f"--arm={name} cannot answer what only a prompt is known of: choose from {', '.join(able)}.")
    return (METHODS | CONTROLS)[name]


@partial(jax.jit, static_argnames="method")
def _continuations(method: Method, params: Params, adapters: PyTree, sequences_PxSxT: Sequences) -> tuple[Array, Array]:
    """Summed log-probability of every target, and whether each of its tokens is the likeliest; [P, S] both."""

    def one(adapter: PyTree, sequences_SxT: Sequences) -> tuple[Array, Array]:
        tokens, target = jnp.asarray(sequences_SxT.tokens), sequences_SxT.target[:, 1:]
        hidden, _ = transformer.forward(method.model, params, adapter, tokens[:, :-1])
        log_probs = jax.nn.log_softmax(transformer.logits(method.model, params, hidden).astype(jnp.float32))
        chosen = jnp.take_along_axis(log_probs, tokens[:, 1:, None], axis=-1)[..., 0]
        likeliest = jnp.argmax(log_probs, axis=-1) == tokens[:, 1:]
        return jnp.sum(chosen * target, axis=-1), jnp.all(likeliest | ~target, axis=-1)

    return inner.over_problems(method.inner, one, adapters, sequences_PxSxT)


def write_task(study: Study, folder: Path) -> Path:
    """The study's test split as a local JSON task; the path of its YAML file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "test.jsonl"
    lines = (json.dumps({"prompt": p.prompt, "solution": p.solution}) for p in study.splits.test)
    rows.write_text("\n".join(lines) + "\n", encoding="utf-8")
    task = {
        "task": f"{study.config.task.name}_test",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows.resolve())}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{solution}}",
        "generation_kwargs": {"until": ["\n"], "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(task), encoding="utf-8")
    return path


def evaluate(study: Study, state: TrainState, arm: str, tasks: Sequence[str]) -> dict[str, Any]:
    """The harness's results of every task, by task name."""
    named, manager = [], TaskManager()
    for path in map(Path, tasks):
        if not path.is_file():
            raise InputError(f"there is no task file {path}: give --tasks YAML files of the harness's form.")
        named.append(yaml.safe_load(path.read_text(encoding="utf-8")))
    found = lm_eval.simple_evaluate(
        model=AdaptedLM(study, state, arm), tasks=named, task_manager=manager, bootstrap_iters=0
    )
    assert found is not None, "there is one process"
    return found["results"]


def main(config: ConfigDict, workdir: Path) -> None:
    """Evaluate one arm, and write what the harness says of it."""
    arm = named_arm(flags.FLAGS.arm)
    enable_compilation_cache(workdir.parent / ".jax_cache")
    study = open_study(config, workdir)
    state = base_state(study) if arm.model == "base" else train_arm(study, arm.model)
    tasks = flags.FLAGS.tasks or [str(write_task(study, workdir / "harness"))]
    results = evaluate(study, state, flags.FLAGS.arm, tasks)
    path = workdir / f"harness-{flags.FLAGS.arm}.json"
    path.write_text(json.dumps(results, indent=2, default=str), encoding="utf-8")
    print(f"{json.dumps(results, indent=2, default=str)}\nThese results are in {path}")


def _cut(text: str, until: str | Sequence[str]) -> str:
    stops = [until] if isinstance(until, str) else until
    return text[: min((place for stop in stops if stop and (place := text.find(stop)) >= 0), default=None)]


def define_flags() -> None:
    """What the command line takes. Called by the main program only: an importer has flags of its own."""
    flags.DEFINE_string("arm", "mass", "Which row of the study's table answers.")
    flags.DEFINE_list("tasks", [], "YAML files of harness tasks; the study's own test split where not given.")


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
