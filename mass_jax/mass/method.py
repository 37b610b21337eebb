"""The static description of the method: every choice that shapes a compiled program, as frozen dataclasses."""

import dataclasses
from typing import Any

from mass_jax.models.lora import LoraConfig
from mass_jax.models.transformer import ModelConfig

OPTIMIZERS = ("sgd", "normalized_sgd", "adam")
SCHEDULES = ("fresh", "same")
SCORERS = ("uniform", "linear", "verification")
NORMALIZATIONS = ("softmax", "sigmoid", "relu")


def _one_of(field: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ValueError(f"{field} = {value!r} is not one of {', '.join(valid)}.")


@dataclasses.dataclass(frozen=True)
class LengthConfig:
    """Padded lengths in tokens; one compiled program serves everything that fits.

    Attributes:
      prompt: a problem with the mark after which a solution or a practice example is expected, BOS included.
      solution: a solution, EOS included.
      synthesis: what the generator writes for one practice example, EOS included.
      practice: a practice prompt with its solution, BOS and EOS included.
      check: a verification question with its target, BOS included.
    """

    prompt: int
    solution: int
    synthesis: int
    practice: int
    check: int


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """How practice is written.

    Attributes:
      examples: M, practice examples a problem.
      temperature: of their sampling.
      top_p: of their sampling; 1 for all tokens.
    """

    examples: int
    temperature: float
    top_p: float = 1.0

    def __post_init__(self):
        if self.examples < 1:
            raise ValueError(f"generator.examples = {self.examples}: adaptation needs 1 practice example or more.")


@dataclasses.dataclass(frozen=True)
class ScorerConfig:
    """How much each practice example counts.

    Attributes:
      kind: ``uniform``; ``linear``, a head on the final-token hidden state; ``verification``, an
        MLP on the outcomes of the task's checks.
      normalization: ``softmax`` times the number of examples (mean weight 1), ``sigmoid`` (0 to 2, starting at 1) or
        ``relu`` (0 and up, starting at 1).
      gate: learn a factor between 0 and 2 on each problem's update; 0 declines it.
      hidden: width of the verification scorer's hidden layer.
    """

    kind: str
    normalization: str = "softmax"
    gate: bool = False
    hidden: int = 16

    def __post_init__(self):
        _one_of("scorer.kind", self.kind, SCORERS)
        _one_of("scorer.normalization", self.normalization, NORMALIZATIONS)


@dataclasses.dataclass(frozen=True)
class InnerConfig:
    """The inner update.

    Attributes:
      steps: K.
      schedule: ``fresh``: each step takes its own M / K examples; ``same``: every step takes all M.
      optimizer: ``sgd``, ``normalized_sgd`` or ``adam``.
      learning_rate: its rate.
      problems_at_once: problems whose activations are alive at once, here and in the outer loss; 0 for all.
    """

    steps: int
    schedule: str
    optimizer: str
    learning_rate: float
    problems_at_once: int = 0

    def __post_init__(self):
        _one_of("inner.schedule", self.schedule, SCHEDULES)
        _one_of("inner.optimizer", self.optimizer, OPTIMIZERS)
        if self.steps < 1:
            raise ValueError(f"inner.steps = {self.steps}: the inner update needs 1 step or more.")


@dataclasses.dataclass(frozen=True)
class Method:
    """All of the above, and the estimator of the meta-gradient (a frozen dataclass of `mass_jax.metagrad`)."""

    model: ModelConfig
    lora: LoraConfig
    lengths: LengthConfig
    generator: GeneratorConfig
    scorer: ScorerConfig
    inner: InnerConfig
    estimator: Any

    def __post_init__(self):
        examples, steps = self.generator.examples, self.inner.steps
        if self.inner.schedule == "fresh" and examples % steps:
            raise ValueError(
                f"generator.examples = {examples} cannot be split evenly over inner.steps = {steps}: choose a "
                "multiple, or inner.schedule = 'same'."
            )
        longest = self.lengths.prompt + max(self.lengths.solution, self.lengths.synthesis)
        longest = max(longest, self.lengths.practice, self.lengths.check)
        if longest > self.model.context:
            raise ValueError(
                f"the longest sequence of {longest} tokens exceeds model.context = {self.model.context}: train a base "
                "with a larger context, or choose smaller lengths."
            )
