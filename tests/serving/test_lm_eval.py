"""lm-evaluation-harness over HTTP: the likelihoods and answers that it hears are the model's own."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import Options
from mass_jax.models import decoder
from tests.serving.conftest import Served

pytest.importorskip("lm_eval")
pytest.importorskip("tenacity")  # of lm-eval[api]
import lm_eval
from lm_eval.tasks import TaskManager

CHOICES = "dataset_path: json\ntest_split: test\ndoc_to_text: '{{prompt}}'\n"


def evaluated(served: Served, model: str, path: Path, chat: bool = False) -> list[dict[str, Any]]:
    """What the harness has heard of every row of a task, by its own client of texts or of chats."""
    manager = TaskManager(include_defaults=False)
    own: dict[str, Any] = {} if chat else {"tokenizer_backend": "remote", "max_length": 32}
    found = lm_eval.simple_evaluate(
        model="local-chat-completions" if chat else "local-completions",
        model_args={
            "model": model,
            "base_url": f"{served.url}/v1/{'chat/' if chat else ''}completions",
            "max_gen_toks": 4,
            **own,
        },
        tasks=list(manager.load(str(path))["tasks"].values()),
        task_manager=manager,
        bootstrap_iters=0,
        batch_size=1 if chat else 3,
        apply_chat_template=chat,
    )
    assert found is not None
    return sorted(found["samples"]["task"], key=lambda each: each["doc_id"])


def write_task(folder: Path, texts: list[str], more: str) -> Path:
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"prompt": text}) for text in texts))
    path = folder / "task.yaml"
    files = f"dataset_kwargs: {{data_files: {{test: {folder / 'rows.jsonl'}}}}}\n"
    path.write_text(f"task: task\n{CHOICES}{files}{more}")
    return path


def test_likelihoods(served: Served, adapter: MassAdapter, texts: list[str], tmp_path: Path):
    actor = adapter.learner.actor
    choices = ["f6,5,8 = 2>9", "7>7 8>3"]
    more = f"output_type: multiple_choice\ndoc_to_target: 0\ndoc_to_choice: {json.dumps(choices)}\n"
    samples = evaluated(served, "tiny:base", write_task(tmp_path, texts[:3], more))
    for text, sample in zip(texts, samples, strict=False):
        for choice, ((told, greedy),) in zip(choices, sample["resps"], strict=True):
            head, ids = actor.tokenizer.encode(text), actor.tokenizer.encode(f"{text} {choice}")
            found = decoder.token_log_probs(actor.method.model, actor.params, None, jnp.asarray([ids]))
            expected = np.asarray(found)[0, len(head) - 1 :].sum()
            assert float(told) == pytest.approx(float(expected), rel=1e-4)
            hidden, _ = decoder.forward(actor.method.model, actor.params, None, jnp.asarray([ids[:-1]]))
            likeliest = np.asarray(decoder.logits(actor.method.model, actor.params, hidden))[0].argmax(axis=-1)
            assert (str(greedy) == "True") == (likeliest[len(head) - 1 :].tolist() == ids[len(head) :])


@pytest.mark.parametrize("chat", [False, True], ids=["text", "chat"])
def test_answers_after_an_update(served: Served, adapter: MassAdapter, texts: list[str], tmp_path: Path, chat: bool):
    more = "output_type: generate_until\ndoc_to_target: ''\ngeneration_kwargs: {until: [never]}\n"
    samples = evaluated(served, "tiny", write_task(tmp_path, texts[:3], more), chat)
    expected = [each.answer for each in adapter.adapt(texts[:3], Options(seed=1234))]
    words = [" ".join(answer.split()[:4]) for answer in expected]
    assert [sample["resps"][0][0] for sample in samples] == words
