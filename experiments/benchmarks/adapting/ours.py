"""The procedure with mass_jax: the problems of a batch write and answer at once, an adapter each.

Started alone, it runs one batch and prints its peak memory.
"""

import json
import sys
from collections.abc import Callable

import jax
import numpy as np

from experiments.benchmarks.adapting.work import Size, Work, make_work, peak
from mass_jax.mass import attribution
from mass_jax.mass.actor import Actor
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, Method, ScorerConfig
from mass_jax.mass.scorer import Scores
from mass_jax.metagrad import Adjoint
from mass_jax.models import decoder
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import source
from mass_jax.models.sampling import Prompts, SamplingSpec, sample
from mass_jax.types import PyTree, Sequences

BATCH = 8
"""Problems that write and answer at once; more are several batches, as of `mass-adapt --batch=8`."""
AT_ONCE = 4
"""Problems whose steps are taken at once: of more of them more is alive, and no less time is taken."""
LOSS_CHUNK = 48
"""Positions of a problem whose logits are alive at once: all of them would be over a third of what a step keeps."""


class Ours:
    """A model that adapts, as the programs of `mass_jax.mass` do it."""

    def __init__(self, name: str, size: Size) -> None:
        """Loads the model, and draws the adapter that every problem starts from."""
        context = size.prompt + max(size.written, size.answer, size.practice)
        model = source.load_config(name, context=context, scan_layers=True, remat=True, loss_chunk=LOSS_CHUNK)
        lengths = LengthConfig(size.prompt, size.answer, size.written, size.practice, size.practice)
        method = Method(
            model,
            LoraConfig(size.rank),
            lengths,
            GeneratorConfig(size.examples, 1.0),
            ScorerConfig("uniform"),
            InnerConfig(size.steps, "fresh", "sgd", size.rate, problems_at_once=AT_ONCE),
            Adjoint(),
        )
        self.size, self.actor = size, Actor(source.load_params(name, model), method)
        self.fresh = attribution.fresh_adapter(self.actor, jax.random.key(0))

    def run(self, work: Work) -> list[PyTree]:
        """Write practice, take the steps, answer. Returns the adapters of every batch, [P, ...]."""
        starts = range(0, len(work.prompts_PxT), BATCH)
        return [self._batch(Work(*(part[start : start + BATCH] for part in work))) for start in starts]

    def log_probs(self, adapters: list[PyTree], tokens_PxT: np.ndarray) -> np.ndarray:
        """Of each token after the first, under each problem's adapter, float [P, T - 1]."""
        model = self.actor.method.model
        each: Callable[..., jax.Array] = jax.vmap(
            lambda adapter, tokens: decoder.token_log_probs(model, self.actor.params, adapter, tokens[None])[0]
        )
        parts = [tokens_PxT[start : start + BATCH] for start in range(0, len(tokens_PxT), BATCH)]
        return np.concatenate([each(*both) for both in zip(adapters, parts, strict=True)])

    def _batch(self, work: Work) -> PyTree:
        size, problems = self.size, len(work.prompts_PxT)
        self._sample(work, None, SamplingSpec(size.examples, size.written, 1.0))
        ones = np.ones((problems, size.examples), np.float32)
        given = Scores(ones, ones, np.ones(problems, np.float32)), Sequences(work.practice_PxMxT, work.target_PxMxT)
        adapters = attribution.adapt(self.actor, self.fresh, *jax.device_put(given))
        self._sample(work, adapters, SamplingSpec(1, size.answer, 0.0))
        return jax.block_until_ready(adapters)

    def _sample(self, work: Work, adapters: PyTree, spec: SamplingSpec) -> None:
        prompts = Prompts(work.prompts_PxT, np.full(len(work.prompts_PxT), work.prompts_PxT.shape[1], np.int32))
        sample(
            self.actor.method.model,
            self.actor.params,
            adapters,
            prompts,
            jax.random.key(0),
            spec,
            adapter_per_problem=adapters is not None,
        )


if __name__ == "__main__":
    name, batch, vocabulary, fields = sys.argv[1:]
    asked = Size(**json.loads(fields))
    Ours(name, asked).run(make_work(asked, int(batch), int(vocabulary)))
    print(peak())
