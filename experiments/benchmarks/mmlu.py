"""A base model on MMLU's STEM subjects, beside lm-evaluation-harness with transformers: question by question, offline.

    pip install -e '.[parity]'
    python -m experiments.benchmarks.mmlu --config=configs/science_smollm2.py --workdir=runs/mmlu \
      --config.task.source=mmlu_stem.jsonl

The harness poses the same questions by its own files of ``mmlu``, as text and as a chat, and ``mmlu_generative``; its
model is the same file, as transformers reads it. What is compared are prompts, the log-probabilities of the letters,
and what is written. With ``--shots=5`` the source has to be a folder with MMLU's dev questions too.
"""

import collections
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from experiments.benchmarks.kept import keep, writable
from mass_jax import extras
from mass_jax.adapt import likeliest
from mass_jax.adapt.run import offered
from mass_jax.errors import InputError
from mass_jax.mass.actor import Actor
from mass_jax.mass.generator import complete, solving
from mass_jax.models.pretrained import source
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study import entry, setup
from mass_jax.study.config import read
from mass_jax.study.schema import Config, Pretrained
from mass_jax.tasks.base import Problem
from mass_jax.tasks.science import data
from mass_jax.tasks.science.form import LETTERS

COLUMNS = (
    *("Asked", "Answered by", "Questions", "Same prompts", "Largest difference of a letter's log-probability"),
    *("Same answers", "Right, %", "Right by the harness, %"),
)
WAYS = (("text", "likelihood"), ("chat", "likelihood"), ("text", "generation"))
"""How questions are asked and answered, as in ``config.task``."""
WRITTEN = 16
"""Tokens of a written answer, of which the first line counts."""


class Heard(NamedTuple):
    """What is known of a question.

    Attributes:
      prompt: that the model read.
      scores_S: float, log-probabilities of its letters; empty where the answer is written.
      answer: the letter, or the first line that was written.
      right: whether it is.
    """

    prompt: str
    scores_S: np.ndarray
    answer: str
    right: bool


def write_tasks(folder: Path, asked: Sequence[data.Asked], dev: Sequence[data.Asked], way: str) -> list[Path]:
    """The harness's own task of every subject, on these questions in place of those that it would download.

    Args:
      folder: where files are written.
      asked: the questions.
      dev: solved ones, for prompts.
      way: ``likelihood`` or ``generation``.
    """
    import lm_eval

    folder.mkdir(parents=True, exist_ok=True)
    kind, ending = ("default", "") if way == "likelihood" else ("generative", "_generative")
    paths = []
    for subject in sorted({each.subject for each in asked}):
        files = {}
        for split, some in (("test", asked), ("dev", dev)):
            rows = [as_row(each) for each in some if each.subject == subject]
            if rows:
                files[split] = str((folder / f"{subject}.{split}.jsonl").resolve())
                Path(files[split]).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        own = Path(lm_eval.__file__).parent / f"tasks/mmlu/{kind}/mmlu_{subject}.yaml"
        task = {
            "include": str(own),
            "task": f"mmlu_{subject}{ending}",
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": files},
            **({} if dev else {"fewshot_split": None}),
            **({"generation_kwargs": {"until": ["\n"], "max_gen_toks": WRITTEN}} if ending else {}),
        }
        paths.append(folder / f"{subject}{ending}.yaml")
        paths[-1].write_text(json.dumps(task), encoding="utf-8")  # JSON is YAML
    return paths


def as_row(asked: data.Asked) -> dict[str, Any]:
    """A question in MMLU's own form."""
    question = asked.question
    return {
        "question": question.text,
        "subject": asked.subject,
        "choices": list(question.choices),
        "answer": question.letters.index(asked.letter),
    }


def theirs(model: Any, paths: Sequence[Path], shots: int, chat: bool) -> dict[tuple[str, int], Heard]:
    """What the harness hears of its model, by subject and number of the question."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=[task for path in paths for task in manager.load(str(path))["tasks"].values()],
        task_manager=manager,
        num_fewshot=shots,
        bootstrap_iters=0,
        apply_chat_template=chat,
    )
    assert found is not None, "there is one process"
    heard = {}
    for samples in found["samples"].values():
        for sample in samples:
            each = [*sample["arguments"].values()] if isinstance(sample["arguments"], dict) else sample["arguments"]
            pairs = [tuple(pair.values()) if isinstance(pair, dict) else pair for pair in each]
            replies = [reply[0] for reply in sample["resps"]]
            if isinstance(replies[0], str):
                scores, answer, right = np.array([]), first_line(replies[0]), bool(sample["exact_match"])
            else:
                scores = np.array([float(total) for total, _ in replies])
                answer, right = LETTERS[int(scores.argmax())], bool(sample["acc"])
            heard[sample["doc"]["subject"], sample["doc_id"]] = Heard(pairs[0][0], scores, answer, right)
    return heard


def first_line(text: str) -> str:
    """What the harness takes of a written answer."""
    return text.partition("\n")[0].strip()


def ours(actor: Actor, problems: Sequence[Problem], batch: int) -> list[Heard]:
    """What the domain makes of the problems; the last batch is filled up from the front."""
    found: list[Heard] = []
    for start in range(0, len(problems), batch):
        some = [problems[(start + i) % len(problems)] for i in range(batch)]
        prompts = [actor.task.solve_prompt(problem.prompt) for problem in some]
        if choices := offered(actor.task, some):
            scores = likeliest.log_probs(actor, None, prompts, choices)
            texts = [row[int(each.argmax())] for row, each in zip(choices, scores, strict=True)]
        else:
            scores = [np.array([])] * len(some)
            written = complete(actor, None, prompts, jax.random.key(0), solving(actor, 1, 0.0)).texts
            texts = [row[0] for row in written]
        verdicts = actor.task.grade(some, texts)
        told = zip(prompts, scores, map(first_line, texts), [verdict.correct for verdict in verdicts], strict=True)
        found += [Heard(*each) for each in told]
    return found[: len(problems)]


def among(scores_S: np.ndarray) -> np.ndarray:
    """Log-probabilities of letters, given that one of them comes."""
    return scores_S - np.logaddexp.reduce(scores_S)


def compared(way: tuple[str, str], asked: Sequence[data.Asked], mine: Sequence[Heard], other: Sequence[Heard]) -> tuple:
    """A row of the table."""
    pairs = list(zip(mine, other, strict=True))
    # The harness counts the new line before a letter of a chat to the letter: probabilities are compared among letters.
    differences = [np.abs(among(a.scores_S) - among(b.scores_S)).max() for a, b in pairs if len(a.scores_S)]
    same = {name: sum(getattr(a, name) == getattr(b, name) for a, b in pairs) for name in ("prompt", "answer")}
    shares = [f"{100 * sum(each.right for each in some) / len(asked):.1f}" for some in (mine, other)]
    largest = f"{max(differences):.1e}" if differences else "–"
    return (*way, str(len(asked)), str(same["prompt"]), largest, str(same["answer"]), *shares)


def main(config: Config, workdir: Path) -> None:
    """Ask both in every way, and keep the table after each."""
    options = flags.FLAGS
    if not isinstance(config.model, Pretrained) or config.task.name != "science":
        raise InputError("this benchmark asks a pretrained model questions of science: give a config of them.")
    extras.require("eval")
    from lm_eval.models.huggingface import HFLM

    enable_compilation_cache()
    given = config.given
    asked = data.in_turn(data.load(given["task"]["source"], "test"), data.SUBJECTS, 0)
    asked = asked[: options.each * len({each.subject for each in asked})]
    dev = data.load(given["task"]["source"], "dev") if options.shots else []
    writable(workdir)
    params = source.load_params(config.model.source, setup.make_model(config))
    model = HFLM(device="cpu", dtype="float32", batch_size=options.batch, max_length=2048, **named(config.model.source))
    rows = []
    for form, answers in WAYS:
        task = given["task"] | {"form": form, "answers": answers, "shots": options.shots}
        own = read(given | {"task": task, "lengths": given["lengths"] | {"solution": WRITTEN}})
        actor = Actor(params, setup.make_method(own), setup.make_domain(own))
        lead = "" if form == "chat" else " "
        mine = ours(actor, [data.problem(each, lead) for each in asked], options.batch)
        heard = theirs(model, write_tasks(workdir / "tasks", asked, dev, answers), options.shots, form == "chat")
        rows.append(compared((form, answers), asked, mine, in_order(asked, heard)))
        keep(workdir / "table.json", harness=Table(COLUMNS, "llrrrrrr", rows))
    print(to_markdown(Table(COLUMNS, "llrrrrrr", rows)))


def named(given: str) -> dict[str, str]:
    """A model as transformers takes it: of a GGUF file the weights, and the tokenizer that is made of it here.

    transformers' own reading of SmolLM2's file leaves out that digits are split off first.
    """
    path, home = source.resolve(given), str(source.folder_of(given))
    return (
        {"pretrained": home}
        if path.is_dir()
        else {"pretrained": str(path.parent), "gguf_file": path.name, "tokenizer": home}
    )


def in_order(asked: Sequence[data.Asked], heard: dict[tuple[str, int], Heard]) -> list[Heard]:
    """What was heard of each question: the harness numbers those of a subject."""
    counts = collections.Counter[str]()
    found = []
    for each in asked:
        found.append(heard[each.subject, counts[each.subject]])
        counts[each.subject] += 1
    return found


if __name__ == "__main__":
    flags.DEFINE_integer("each", 11, "Questions of every subject.", lower_bound=1)
    flags.DEFINE_integer("batch", 18, "Questions at once.", lower_bound=1)
    flags.DEFINE_integer("shots", 0, "Dev questions before each.", lower_bound=0, upper_bound=5)
    entry.run(main)
