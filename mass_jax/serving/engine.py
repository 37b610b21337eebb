"""What is asked of a model: an answer after an update, or without one; and how it goes on after a text."""

import dataclasses
from collections.abc import Hashable, Sequence

from mass_jax.inference.adapted import Adapted
from mass_jax.inference.adapter import MassAdapter, Watch
from mass_jax.inference.options import Options
from mass_jax.mass.packing import encode_prompt
from mass_jax.models.sampling import bucket
from mass_jax.parallel.mesh import entered
from mass_jax.serving.continuation import Continue, Continued, continued
from mass_jax.tasks.base import Problem


@dataclasses.dataclass(frozen=True)
class Adapt:
    """A problem to answer.

    Attributes:
      problem: as the domain reads it.
      options: of the answer.
      read: tokens of the prompt that is answered.
      padded: lengths that what the model reads of it is padded to.
    """

    problem: Problem
    options: Options
    read: int
    padded: tuple[int, ...]

    @property
    def together(self) -> Hashable:
        """Those of one batch have options that differ in their seeds only, and the same shapes."""
        return Adapt, dataclasses.replace(self.options, seed=0), self.padded


def asked(adapter: MassAdapter, text: str, options: Options) -> Adapt:
    """What a request asks for.

    Raises:
      InputError: the domain cannot read the problem, it is too long, or the options do not fit the model.
    """
    adapter.check(options)
    problem, actor = adapter.learner.read(text), adapter.learner.actor
    prompts = actor.task.solve_prompt(problem.prompt), actor.task.synthesis_prompt(problem)
    lengths = [len(encode_prompt(actor.tokenizer, prompt)) for prompt in prompts]
    return Adapt(problem, options, lengths[0], tuple(bucket(each, actor.method.lengths.prompt) for each in lengths))


def answer(
    adapter: MassAdapter, rows: Sequence[Adapt | Continue], watch: Watch
) -> Sequence[Adapted] | Sequence[Continued]:
    """The results of one batch."""
    problems = [row for row in rows if isinstance(row, Adapt)]
    if problems:
        return adapter.adapt([row.problem for row in problems], [row.options for row in problems], watch)
    texts = [row for row in rows if isinstance(row, Continue)]
    with entered(adapter.learner.mesh):
        return continued(adapter.learner.actor, texts, adapter.learner.batch)
