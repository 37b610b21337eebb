"""The procedure with transformers and peft: one problem after the other, as their adapters are trained.

Started alone, it runs one batch, of folders with model and adapter, and prints its peak memory.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers

from experiments.benchmarks.adapting.work import Size, Work, make_work, peak


class Theirs:
    """A model with one adapter, which is put back before each problem."""

    def __init__(self, home: Path, size: Size) -> None:
        """Loads model and fresh adapter of a folder in which mass_jax has written them."""
        base = transformers.AutoModelForCausalLM.from_pretrained(home / "model", dtype=torch.float32)
        base.generation_config.eos_token_id = None
        self.size = size
        self.model: Any = peft.PeftModel.from_pretrained(base, home / "adapter", is_trainable=True).eval()
        self.trained = [each for each in self.model.parameters() if each.requires_grad]
        self.fresh = [each.detach().clone() for each in self.trained]

    def run(self, work: Work) -> list[list[torch.Tensor]]:
        """Write practice, take the steps, answer. Returns the adapter of each problem."""
        return [self._one(*row) for row in zip(*work, strict=True)]

    def log_probs(self, adapters: list[list[torch.Tensor]], tokens_PxT: np.ndarray) -> np.ndarray:
        """Of each token after the first, under each problem's adapter, float [P, T - 1]."""
        found = []
        for adapter, tokens in zip(adapters, tokens_PxT, strict=True):
            self._put(adapter)
            with torch.no_grad():
                found.append(self._log_probs(torch.tensor(tokens[None], dtype=torch.int64))[0].numpy())
        return np.stack(found)

    def _one(self, prompt_T: np.ndarray, practice_MxT: np.ndarray, target_MxT: np.ndarray) -> list[torch.Tensor]:
        size = self.size
        self._put(self.fresh)
        with self.model.disable_adapter():
            self._generate(prompt_T, size.written, do_sample=True, top_k=0, num_return_sequences=size.examples)
        optimizer = torch.optim.SGD(self.trained, lr=size.rate)
        tokens = torch.tensor(practice_MxT, dtype=torch.int64).reshape(size.steps, -1, size.practice)
        target = torch.tensor(target_MxT).reshape(tokens.shape)[..., 1:]
        for step in range(size.steps):
            means = (self._log_probs(tokens[step]) * target[step]).sum(-1) / target[step].sum(-1)
            optimizer.zero_grad()
            (-means.mean()).backward()
            optimizer.step()
        self._generate(prompt_T, size.answer, do_sample=False)
        return [each.detach().clone() for each in self.trained]

    def _put(self, adapter: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for own, value in zip(self.trained, adapter, strict=True):
                own.copy_(value)

    def _log_probs(self, tokens: torch.Tensor) -> torch.Tensor:
        """Log p(token | before) of tokens [N, T], [N, T - 1]."""
        logits = self.model(input_ids=tokens[:, :-1]).logits
        return torch.log_softmax(logits, dim=-1).gather(-1, tokens[:, 1:, None])[..., 0]

    def _generate(self, prompt_T: np.ndarray, new: int, **how: Any) -> None:
        ids = torch.tensor(prompt_T[None], dtype=torch.int64)
        with torch.no_grad():
            self.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, pad_token_id=0, **how
            )


if __name__ == "__main__":
    home, batch, vocabulary, fields = sys.argv[1:]
    asked = Size(**json.loads(fields))
    Theirs(Path(home), asked).run(make_work(asked, int(batch), int(vocabulary)))
    print(peak())
