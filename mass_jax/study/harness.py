"""Evaluation by lm-evaluation-harness: a model class that adapts to every request before it answers it.

What the harness calls a context is taken as a problem: the study's domain puts its own prompt around it, in
the place of a chat template, so a task is to give the bare problem.

Requests are treated as the harness's own ``hf`` model treats them. A problem that the study's lengths do not hold, or
that the domain cannot write practice for, is answered without an update, from a prompt that is cut from the left.
"""

import bisect
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from mass_jax import extras

try:
    import lm_eval
    import yaml
except ModuleNotFoundError:
    extras.require("eval")
    raise

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.tasks import TaskManager

from mass_jax.adapt.learner import Batch
from mass_jax.adapt.run import Ready, solve
from mass_jax.errors import InputError, nearest
from mass_jax.mass import inner
from mass_jax.mass.actor import Actor
from mass_jax.mass.method import LengthConfig
from mass_jax.mass.packing import encode_prompt
from mass_jax.mass.state import Trained
from mass_jax.models import decoder
from mass_jax.models.sampling import bucket
from mass_jax.runtime.configs import to_json
from mass_jax.study.study import Study, make_learner, named_arm
from mass_jax.tasks.base import Problem
from mass_jax.types import Array, PyTree, Sequences

IMPOSSIBLE = (-math.inf, False)
"""What is said of a continuation that the model has no words for."""

JUDGE = '''"""Judges answers by the grader of the study that this task was written for."""

from pathlib import Path

from mass_jax.study.judging import judge

process_results = judge(Path(__file__).with_name("config.json"))
'''
"""What stands beside a task's YAML file: anything that runs the harness, such as its ``hf`` model, is judged alike."""


class AdaptedLM(LM):
    """A study's model for the harness. All of it is deterministic by the study's seed."""

    tokenizer_name = ""
    """The harness keeps requests under it; here they are bare problems, whatever the tokenizer."""

    def __init__(self, study: Study, state: Trained, arm: str):
        """Take one row of the table.

        Args:
          study: the study.
          state: the trained model and scorer that the arm uses.
          arm: its name.

        Raises:
          InputError: the arm is unknown, or needs what is not there.
        """
        super().__init__()
        row = named_arm(study.config, study.workdir, study.domain.task, arm)
        key = jax.random.key(study.config.seed + 1)
        self.study, self.arm = study, arm
        self.learner = make_learner(study, row.model, state, row.recipe, key)
        self.actor = self.learner.actor

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The problem that a chat is about: the domain's prompt takes the place of a template.

        Raises:
          InputError: the task begins the answer (``gen_prefix``), which is no part of a problem.
        """
        if not add_generation_prompt:
            raise InputError(
                f"the task begins every answer ({chat_history[-1]['content']!r}), but the domain's prompt stands "
                "between problem and answer: leave its gen_prefix out."
            )
        return "\n\n".join(message["content"] for message in chat_history)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy answers, cut before any of the ``until`` strings.

        They have up to ``max_gen_toks`` tokens, or ``config.lengths.solution`` where the task does not say.

        Raises:
          InputError: the task asks for samples, or for longer answers than the model's context holds.
        """
        found: dict[tuple[str, int], str] = {}
        asked = [self._asked(*request.args) for request in requests]
        for tokens in sorted({tokens for _, tokens, _ in asked}):
            actor = self._answering(tokens)
            contexts = list(dict.fromkeys(context for context, each, _ in asked if each == tokens))
            for problems, ready in self._adapted(contexts, actor, actor.method.model.context - tokens):
                texts = solve(actor, problems, ready)
                answered = {(p.prompt, tokens): text for p, text in zip(problems, texts, strict=True)}
                found = answered | found  # the last batch is filled up with problems that are answered already
        return [
            postprocess_generated_text(found.get((context, tokens), ""), until, None)
            for context, tokens, until in asked
        ]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Of every continuation after its context: the log-probability, and whether it is the greedy one.

        Raises:
          InputError: the arm's answers have none, or a continuation leaves no room for a problem.
        """
        if not self.learner.recipe.has_likelihood:
            raise InputError(
                f"the task asks how likely texts are, but the arm {self.arm!r} chooses its answers among samples or "
                "reads them off: choose another arm, such as base, or a task that is answered in text."
            )
        pairs = [(_readable(request.args[0]), _readable(request.args[1])) for request in requests]
        asked: dict[str, list[str]] = {}
        for context, continuation in dict.fromkeys(pairs):
            asked.setdefault(context, []).append(continuation)
        width = max(map(len, asked.values()), default=0)
        room, pad_id = self.actor.method.model.context, self.actor.tokenizer.pad_id
        limit = room + 1  # the last token is predicted, not read
        found: dict[tuple[str, str], tuple[float, bool]] = {}
        for problems, ready in self._adapted(list(asked), self.actor, room):
            rows = [
                [self._split(prompt, text, limit) for text in asked[problem.prompt]]
                for problem, prompt in zip(problems, ready.prompts, strict=True)
            ]
            length = bucket(max(len(head) + len(tail) for row in rows for head, tail in row), limit)
            sequences = _packed(rows, (len(rows), width, length), pad_id)
            scores = _continuations(self.actor, ready.adapters, sequences)
            for problem, totals, greedy in zip(problems, *map(np.asarray, scores), strict=True):
                for text, total, likeliest in zip(asked[problem.prompt], totals, greedy, strict=False):
                    found.setdefault((problem.prompt, text), (float(total), bool(likeliest)))
        return [found[pair] if pair in found and self._can_write(pair[1]) else IMPOSSIBLE for pair in pairs]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Not available: a text without a problem is nothing to adapt to."""
        raise InputError("the task asks for the perplexity of whole texts, but there is no problem to adapt to.")

    def _asked(self, context: str, settings: dict[str, Any]) -> tuple[str, int, list[str]]:
        """A request's context, the most tokens of its answer, and what ends it."""
        settings = normalize_gen_kwargs(settings | {"until": settings.get("until") or []}, self._lengths.solution)
        if settings["do_sample"]:
            raise InputError(
                "the task asks for sampled answers, but adapted models answer greedily: set do_sample off."
            )
        return _readable(context), settings["max_gen_toks"], handle_stop_sequences(settings["until"], eos=None)

    def _answering(self, tokens: int) -> Actor:
        """The actor with answers of up to ``tokens`` tokens."""
        method = self.actor.method
        most = method.model.context - self._lengths.prompt
        if not 1 <= tokens <= most:
            raise InputError(
                f"the task asks for answers of max_gen_toks = {tokens} tokens, but beside lengths.prompt = "
                f"{self._lengths.prompt} the model's context of {method.model.context} holds 1 to {most}: "
                "change the task's generation_kwargs, or a length."
            )
        return self.actor.replace(method=replace(method, lengths=replace(self._lengths, solution=tokens)))

    def _adapted(self, contexts: Sequence[str], actor: Actor, limit: int) -> Iterator[Batch]:
        """Every context as a problem, with a model adapted to it where that can be done; the others last."""
        able = [context for context in contexts if self._can_adapt_to(context)]
        if able:
            problems = [self.actor.task.problem(context) for context in able]
            learner = replace(self.learner, actor=actor)
            yield from learner.ready(problems, learner.practice(problems))
        rest = [context for context in contexts if context not in set(able)]
        if rest:
            logging.warning(
                "%d of %d requests are longer than config.lengths.prompt = %d, or no problem of this domain: they are "
                "answered without an update, or not at all where the model has no words for them.",
                *(len(rest), len(contexts), self._lengths.prompt),
            )
            rest = [context for context in rest if self._can_write(self.actor.task.solve_prompt(context))]
        size = self.study.config.evaluate.batch
        for start in range(0, len(rest), size):
            # Filled up, so that one shape is compiled.
            batch = [rest[i % len(rest)] for i in range(start, start + size)]
            # A model has to read something.
            rendered = [self.actor.task.solve_prompt(each) or "\n" for each in batch]
            prompts = [self._cut_from_the_left(each, limit) for each in rendered]
            yield [Problem(each, "", (), -1, -1) for each in batch], Ready(prompts, limit, None, None)

    def _can_adapt_to(self, context: str) -> bool:
        """Whether the domain reads the problem, and what is written for it fits the study's lengths."""
        try:
            self.learner.read(context)
            return True
        except InputError:
            return False

    def _can_write(self, text: str) -> bool:
        """Whether the tokenizer has tokens for all of a text; one of words knows those of its domain only."""
        try:
            self.actor.tokenizer.encode(text)
            return True
        except ValueError:
            return False

    def _cut_from_the_left(self, text: str, limit: int) -> str:
        """The longest end of a prompt that takes at most ``limit`` tokens."""

        def longest(starts: Sequence[int]) -> str:
            def fits(start: int) -> bool:
                return len(encode_prompt(self.actor.tokenizer, text[start:])) <= limit

            return text[starts[bisect.bisect_left(starts, True, key=fits)] :]

        words = [found.start() for found in re.finditer(r"\S+", text)]
        try:
            return longest(range(len(text) + 1))
        except ValueError:  # a tokenizer of words, of which some cannot be parted
            return longest([*words, len(text)])

    def _split(self, prompt: str, continuation: str, limit: int) -> tuple[list[int], list[int]]:
        """Ids of prompt and continuation, cut from the left; white space between them counts to the continuation."""
        tokenizer = self.actor.tokenizer
        stem = encode_prompt(tokenizer, prompt.rstrip())
        try:
            tail = encode_prompt(tokenizer, prompt + continuation)[len(stem) :]
        except ValueError:  # two words of a tokenizer of words, with nothing between them
            tail = tokenizer.encode(continuation) if self._can_write(continuation) else []
        head = stem or [tokenizer.eos_id]
        if len(tail) >= limit:
            raise InputError(
                f"a continuation of {len(tail)} tokens leaves no room for a problem in model.context = {limit - 1}: "
                f"{continuation[:80]!r}."
            )
        return head[max(0, len(head) + len(tail) - limit) :], tail

    @property
    def _lengths(self) -> LengthConfig:
        return self.actor.method.lengths


@jax.jit
def _continuations(actor: Actor, adapters: PyTree, sequences_PxSxT: Sequences) -> tuple[Array, Array]:
    """Summed log-probability of every target, and whether each of its tokens is the likeliest; [P, S] both."""
    model = actor.method.model

    def one(adapter: PyTree, sequences_SxT: Sequences) -> tuple[Array, Array]:
        tokens, target = jnp.asarray(sequences_SxT.tokens), sequences_SxT.target[:, 1:]
        hidden, _ = decoder.forward(model, actor.params, adapter, tokens[:, :-1])
        log_probs = jax.nn.log_softmax(decoder.logits(model, actor.params, hidden).astype(jnp.float32))
        chosen = jnp.take_along_axis(log_probs, tokens[:, 1:, None], axis=-1)[..., 0]
        likeliest = jnp.argmax(log_probs, axis=-1) == tokens[:, 1:]
        return jnp.sum(chosen * target, axis=-1), jnp.all(likeliest | ~target, axis=-1)

    return inner.over_problems(actor.method.inner, one, adapters, sequences_PxSxT)


def _packed(rows: list[list[tuple[list[int], list[int]]]], shape: tuple[int, int, int], pad_id: int) -> Sequences:
    """Pairs of ids as arrays of the given shape [P, S, T]; rows with fewer than S pairs are filled with padding."""
    tokens, target = np.full(shape, pad_id, np.int32), np.zeros(shape, bool)
    for i, row in enumerate(rows):
        for j, (head, tail) in enumerate(row):
            tokens[i, j, : len(head) + len(tail)] = head + tail
            target[i, j, len(head) : len(head) + len(tail)] = True
    return Sequences(tokens, target)


def write_task(study: Study, folder: Path) -> Path:
    """The study's test split as a local JSON task that the domain's own grader judges; the path of its YAML file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "test.jsonl"
    rows.write_text("".join(f"{json.dumps(asdict(problem))}\n" for problem in study.splits.test), encoding="utf-8")
    (folder / "config.json").write_text(to_json(study.config.given), encoding="utf-8")
    (folder / "judge.py").write_text(JUDGE, encoding="utf-8")
    task = {
        "task": f"{study.config.task.name}_test",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows.resolve())}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{solution}}",
        "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": study.method.lengths.solution},
        "metric_list": [
            {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True},
            {"metric": "not_judged", "aggregation": "mean", "higher_is_better": False},
        ],
    }
    path = folder / "test.yaml"
    # The tag is the harness's own, which YAML's writer does not know.
    path.write_text(f"{yaml.safe_dump(task)}process_results: !function judge.process_results\n", encoding="utf-8")
    return path


def evaluate(study: Study, state: Trained, arm: str, tasks: Sequence[str]) -> dict[str, Any]:
    """The harness's results of every task, by task name.

    Args:
      study: the study.
      state: the trained model and scorer that the arm uses.
      arm: the row of the table that answers.
      tasks: YAML files, or names of the harness's own tasks.

    Raises:
      InputError: there is no such task, or its file cannot be read.
    """
    # The harness's own tasks are thousands of files: they are looked through where one of them is named.
    manager = TaskManager(include_defaults=not all(Path(task).is_file() for task in tasks))
    loaded: list[Any] = []
    for task in tasks:
        if task in manager.all_tasks:
            loaded.append(task)
            continue
        if not Path(task).is_file():
            near = nearest(task, manager.all_tasks)
            raise InputError(
                f"there is no task file {task}, nor a task of the harness of that name: give --tasks YAML files of the "
                f"harness's form, or names of its tasks{f', such as {near[0]}' if near else ''}."
            )
        try:
            loaded += manager.load(task)["tasks"].values()
        except Exception as error:  # noqa: BLE001 (the file names functions of its own)
            raise InputError(f"the task file {task} cannot be loaded: {error}") from None
    found = lm_eval.simple_evaluate(
        model=AdaptedLM(study, state, arm),
        tasks=loaded,
        task_manager=manager,
        bootstrap_iters=0,
        apply_chat_template=True,
        fewshot_as_multiturn=False,
    )
    assert found is not None, "there is one process"
    return found["results"]


def _readable(text: str) -> str:
    """The text with each half of a surrogate pair that stands alone replaced: no tokenizer takes one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
