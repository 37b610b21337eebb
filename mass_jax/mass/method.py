"""The static description of the method: every choice that shapes a compiled program, as frozen dataclasses."""

import dataclasses
from collections.abc import Iterator
from typing import Annotated

from pydantic.dataclasses import dataclass

from mass_jax.fields import FORBID, Count, CountOrNone, Flag, Positive, Share, Text, Weight, one_of
from mass_jax.mass.scorers.registry import SCORERS
from mass_jax.metagrad import CotangentEstimator
from mass_jax.models.config import ModelConfig
from mass_jax.models.lora import LoraConfig

OPTIMIZERS = ("sgd", "normalized_sgd", "adam")
SCHEDULES = ("fresh", "same")
NORMALIZATIONS = ("softmax", "sigmoid", "relu")


@dataclass(frozen=True, config=FORBID)
class LengthConfig:
    """Padded lengths in tokens; one compiled program serves everything that fits.

    Attributes:
      prompt: a problem with the mark after which a solution or a practice example is expected, BOS included.
      solution: a solution, EOS included.
      synthesis: what the generator writes for one practice example, EOS included.
      practice: a practice prompt with its solution, BOS and EOS included.
      check: a verification question with its target, BOS included.
    """

    prompt: Count
    solution: Count
    synthesis: Count
    practice: Count
    check: Count


@dataclass(frozen=True, config=FORBID)
class GeneratorConfig:
    """How practice is written.

    Attributes:
      examples: M, practice examples a problem.
      temperature: of their sampling.
      top_p: of their sampling; 1 for all tokens.
    """

    examples: Count
    temperature: Positive
    top_p: Share = 1.0


@dataclass(frozen=True, config=FORBID)
class ScorerConfig:
    """How much each practice example counts.

    Attributes:
      kind: a name of `mass.scorers.registry`: ``uniform``; ``linear``, a head on the final-token hidden state;
        ``verification``, an MLP on the outcomes of the task's checks; or one that was registered.
      normalization: ``softmax`` times the number of examples (mean weight 1), ``sigmoid`` (0 to 2, starting at 1) or
        ``relu`` (0 and up, starting at 1).
      gate: learn a factor between 0 and 2 on each problem's update; 0 declines it.
      hidden: width of the head's hidden layer, where the kind has one.
    """

    kind: Annotated[Text, one_of(SCORERS)]
    normalization: Annotated[Text, one_of(NORMALIZATIONS)] = "softmax"
    gate: Flag = False
    hidden: Count = 16


@dataclass(frozen=True, config=FORBID)
class InnerConfig:
    """The inner update.

    Attributes:
      steps: K.
      schedule: ``fresh``: each step takes its own M / K examples; ``same``: every step takes all M.
      optimizer: ``sgd``, ``normalized_sgd`` or ``adam``.
      learning_rate: its rate.
      problems_at_once: problems whose activations are alive at once, here and in the outer loss; 0 for all.
    """

    steps: Count
    schedule: Annotated[Text, one_of(SCHEDULES)]
    optimizer: Annotated[Text, one_of(OPTIMIZERS)]
    learning_rate: Weight
    problems_at_once: CountOrNone = 0


@dataclasses.dataclass(frozen=True)
class Method:
    """All of the above, and the estimator of the meta-gradient (a frozen dataclass of `mass_jax.metagrad`)."""

    model: ModelConfig
    lora: LoraConfig
    lengths: LengthConfig
    generator: GeneratorConfig
    scorer: ScorerConfig
    inner: InnerConfig
    estimator: CotangentEstimator

    def __post_init__(self) -> None:
        for contradiction in contradictions(self.generator, self.inner, self.lengths, self.model.context):
            raise ValueError(contradiction)


def contradictions(
    generator: GeneratorConfig, inner: InnerConfig, lengths: LengthConfig, context: int
) -> Iterator[str]:
    """A sentence for every two fields of a `Method` that do not go together.

    Args:
      generator: of the method.
      inner: likewise.
      lengths: likewise.
      context: of its model.
    """
    if inner.schedule == "fresh" and generator.examples % inner.steps:
        yield (
            f"generator.examples = {generator.examples} cannot be split evenly over inner.steps = {inner.steps}: "
            "choose a multiple, or inner.schedule = 'same'."
        )
    longest = lengths.prompt + max(lengths.solution, lengths.synthesis)
    longest = max(longest, lengths.practice, lengths.check)
    if longest > context:
        yield (
            f"the longest sequence of {longest} tokens exceeds model.context = {context}: train a base with a larger "
            "context, or choose smaller lengths."
        )
