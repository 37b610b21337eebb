"""What a run writes down at every step: each metric's name, its figure in the report, and its meaning.

Whoever computes a metric and whoever reads one use these names. Two kinds have names of their own after a prefix: what
an estimator tells of itself (`DIAGNOSTICS`), and the seconds of each phase (`TIME`).
"""

from enum import StrEnum

MACHINE = "machine/"
"""Prefix of what, like `TIME`, tells of the machine: it differs when a run is repeated."""
TIME = "time/"
"""Prefix of the seconds of a phase."""
DIAGNOSTICS = "metagrad/"
"""Prefix of what tells how far the estimator of the meta-gradient can be trusted."""


class Figure(StrEnum):
    """Curves that belong together, in the report's order; what is in none is grouped by the part before its slash."""

    BOTH_LOSSES = "Target loss before and after the update"
    LOSSES = "Losses"
    ACCURACY = "Accuracy and reward"
    LOST = "Dead groups, skipped steps, solutions not judged"
    PRACTICE = "Practice problems"
    SCORER = "Scorer"
    ATTRIBUTION = "Attribution"
    NORMS = "Gradient norms"
    MEMORY = "Memory, bytes"
    TOKENS = "Tokens a second"
    ARITHMETIC = "Arithmetic, FLOPs a second"
    UTILISATION = "Share of the devices' peak arithmetic"
    SECONDS = "Seconds a step"
    COMPILED = "Programs compiled"
    KL = "Distance to the base"
    KL_TEXTS = "Distance of written texts to the base, nats a text"
    KL_STEP = "Distance of written texts before and after a step, nats a text"
    SCALE = "Share of the step that was taken"
    COSINE = "Cosine between the policy gradients of two halves"
    EFFECT = "Effect size of the reward, right practice against other"
    TRUST = "Agreement of the critic with attributions"


class Metric(StrEnum):
    """A metric of a step: a text, the name under which it is written.

    Attributes:
      figure: of the report.
      meaning: what it is.
    """

    figure: Figure
    meaning: str

    def __new__(cls, name: str, figure: Figure, meaning: str) -> "Metric":
        """A name with its figure and meaning."""
        member = str.__new__(cls, name)
        member._value_, member.figure, member.meaning = name, figure, meaning
        return member

    LOSS_PRE = "outer/loss_pre", Figure.BOTH_LOSSES, "the references' loss before the update"
    LOSS_POST = "outer/loss_post", Figure.BOTH_LOSSES, "the references' loss after it"
    DEAD_GROUPS = "outer/dead_groups", Figure.LOST, "problems whose outer loss carries no signal, as a share"
    ACCURACY_POST = "outer/accuracy_post", Figure.ACCURACY, "right ones of the adapted models' judged solutions"
    NOT_JUDGED = "outer/not_judged", Figure.LOST, "the adapted models' solutions that could not be judged"
    WELL_FORMED = "synthesis/well_formed", Figure.PRACTICE, "practice examples that can be read, as a share"
    LEAK = "synthesis/leak", Figure.PRACTICE, "those that mention what the problem asks for"
    ON_FAMILY = "synthesis/on_family", Figure.PRACTICE, "those of the problem's hidden family"
    CORRECT = "synthesis/correct", Figure.PRACTICE, "those with a right solution"
    GATE = "scorer/gate", Figure.SCORER, "mean factor on the update"
    WEIGHT_ON_CORRECT = "scorer/weight_on_correct", Figure.SCORER, "the share of all weight that right examples have"
    ATTRIBUTION_STD = "attribution/std", Figure.ATTRIBUTION, "spread of a problem's attributions"
    CORRECT_MINUS_WRONG = "attribution/correct_minus_wrong", Figure.ATTRIBUTION, "reward of right over wrong examples"
    D_PRIME = "reward/d_prime", Figure.EFFECT, "d' of the reward within sets, of right practice against other"
    D_PRIME_SETS = "reward/d_prime_sets", Figure.EFFECT, "d' of the sets' gains, of the same"
    TRUST = (
        "reward/trust",
        Figure.TRUST,
        "how far a scorer that rewards the generator agrees with attributions, -1 to 1",
    )
    SOLVE_ACCURACY = "solve/accuracy", Figure.ACCURACY, "right ones of the un-adapted model's judged solutions"
    SOLVE_NOT_JUDGED = "solve/not_judged", Figure.LOST, "its solutions that could not be judged"
    SOLVE_DEAD_GROUPS = "solve/dead_groups", Figure.LOST, "problems whose solutions carry no signal, as a share"
    SOLVE_LOSS = "solve/loss", Figure.LOSSES, "the references' loss a token, of the model that is updated"
    REPLAY_LOSS = "replay/loss", Figure.LOSSES, "loss a token of pretraining documents"
    REPLAY_KL = "replay/kl", Figure.KL, "KL of the base to the model a token of pretraining documents"
    KL_GENERATOR = "kl/generator", Figure.KL_TEXTS, "KL of the sampler to the base, of what it wrote in this step"
    KL_STEP = "kl/step", Figure.KL_STEP, "KL of the model before a gradient step to it after, of half of those texts"
    STEP_SCALE = "step/scale", Figure.SCALE, "the share of the optimiser's step that was taken, to stay within that KL"
    COSINE_GENERATOR = "cosine/generator", Figure.COSINE, "of the gradients of every other problem's texts"
    PRETRAIN_LOSS = "pretrain/loss", Figure.LOSSES, "loss a token of pretraining"
    PRETRAIN_SOLVED = "pretrain/solved", Figure.ACCURACY, "share of validation problems that the base would solve"
    NORM_SCORER = "grad_norm/scorer", Figure.NORMS, "norm of the scorer's gradient"
    NORM_GENERATOR = "grad_norm/generator", Figure.NORMS, "norm of the model's gradient"
    NORM_ANCHORS = "grad_norm/anchors", Figure.NORMS, "norm of replay's and the KL's part of it"
    NORM_BASE = "grad_norm/base", Figure.NORMS, "norm of the gradient of pretraining"
    SKIPPED_SCORER = "skipped/scorer", Figure.LOST, "1 where the scorer's update was skipped"
    SKIPPED_GENERATOR = "skipped/generator", Figure.LOST, "1 where the model's update was skipped"
    SKIPPED = "skipped", Figure.LOST, "1 where the step counts as skipped"
    STEP_SECONDS = "machine/seconds", Figure.SECONDS, "of the step"
    TOKENS_PER_SECOND = "machine/tokens_per_second", Figure.TOKENS, "that all devices together read and wrote"
    FLOPS_PER_SECOND = "machine/flops_per_second", Figure.ARITHMETIC, "of all devices, without what is recomputed"
    FLOP_UTILISATION = "machine/flop_utilisation", Figure.UTILISATION, "of what the devices can do in bfloat16"
    PEAK_HOST_BYTES = "machine/peak_host_bytes", Figure.MEMORY, "the most that this process has held so far"
    PEAK_DEVICE_BYTES = "machine/peak_device_bytes", Figure.MEMORY, "the most on its first device so far"
    PROGRAMS_COMPILED = "machine/programs_compiled", Figure.COMPILED, "since the step before"


_FIGURES = {str(metric): metric.figure for metric in Metric}


def figure(name: str) -> str:
    """The title of the figure that a metric belongs to, whether it is declared or not."""
    if name in _FIGURES:
        return _FIGURES[name]
    head, _, tail = name.partition("/")
    # What has no known unit shares no axis.
    return (head if tail and f"{head}/" != MACHINE else tail or head).replace("_", " ").capitalize()
