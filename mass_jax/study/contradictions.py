"""What is wrong with fields that are sound by themselves: they contradict each other, or what a run has."""

import re
from collections.abc import Iterator

from mass_jax import metagrad
from mass_jax.errors import blamed, said
from mass_jax.fields import MOST
from mass_jax.mass import method
from mass_jax.models.config import PROJECTIONS, ModelConfig
from mass_jax.study import setup
from mass_jax.study.estimator import make_estimator, try_estimator
from mass_jax.study.schema import Config, Metagrad, Own
from mass_jax.tasks.domain import Drawn, OwnWords
from mass_jax.tasks.registry import DOMAINS

MOST_TAKEN = 10**7
"""Examples that an inner update may take, over all of its steps: each step's lie side by side in memory."""


def of_fields(config: Config) -> Iterator[str]:
    """A sentence for every contradiction between a config's fields, but its arms'."""
    yield from _of_the_task(config)
    yield from _of_the_model(config)
    yield from _of_the_method(config)


def _of_the_task(config: Config) -> Iterator[str]:
    task, gate = config.task, config.gate
    with blamed(f"task.name = {task.name!r}", type(task).__module__):
        yield from task.contradictions()
    if isinstance(task, Drawn) and gate.problems > task.validation_problems:
        yield (
            f"gate.problems = {gate.problems}: there are task.validation_problems = {task.validation_problems}; ask "
            "for fewer."
        )
    if isinstance(task, OwnWords) != isinstance(config.model, Own):
        own = ", ".join(name for name, kind in DOMAINS.items() if issubclass(kind, OwnWords))
        yield (
            f"task.name = {task.name!r}: {own} has words of its own, for a model that is pretrained here, and all "
            "other tasks are for pretrained models: give model.source for those, and only for those."
        )


def _of_the_model(config: Config) -> Iterator[str]:
    model, lengths, settings = config.model, config.lengths, config.pretrain
    yield from said(ModelConfig, vocab_size=1, **setup.chosen(model))
    documents = {"long_document": lengths.long_document}
    if isinstance(model, Own):
        documents["short_document"] = lengths.short_document
        if settings.warmup_steps + settings.decay_steps > settings.steps:
            yield (
                f"pretrain.warmup_steps = {settings.warmup_steps} and pretrain.decay_steps = {settings.decay_steps} "
                f"are together more than pretrain.steps = {settings.steps}: give fewer."
            )
        if settings.until and settings.decay_steps:
            yield (
                f"pretrain.until = {settings.until} ends the pretraining at any step, and pretrain.decay_steps = "
                f"{settings.decay_steps} come before the last one: give decay_steps = 0, and average > 0 in its place."
            )
    for name, length in documents.items():
        if model.context is not None and length - 1 > model.context:
            yield f"lengths.{name} = {length} exceeds model.context = {model.context} by more than its last token."
    if [size for _, size in config.mesh].count(-1) > 1:
        sizes = ", ".join(f"mesh.{axis} = {size}" for axis, size in config.mesh)
        yield f"{sizes}: only one can be -1, for the devices that the others leave; give the sizes of the others."
    for name, targets in (("lora.targets", config.lora.targets), ("train.lora_targets", config.train.lora_targets)):
        try:
            if not any(re.fullmatch(targets, projection) for projection in PROJECTIONS):
                yield f"{name} = {targets!r} matches none of {', '.join(PROJECTIONS)}."
        except re.error as error:
            yield f"{name} = {targets!r} is no regular expression ({error}): try '.*_proj'."


def _of_the_method(config: Config) -> Iterator[str]:
    examples = config.generator.examples
    found = list(method.contradictions(config.generator, config.inner, config.lengths, config.model.context or MOST))
    taken = examples * (1 if config.inner.schedule == "fresh" else config.inner.steps)
    if taken > MOST_TAKEN:
        found.append(
            f"generator.examples = {examples} and inner.steps = {config.inner.steps}: an update would take {taken} "
            f"examples, and all lie in memory at once; give fewer, so that these are {MOST_TAKEN} or less."
        )
    yield from found
    if not found:
        for fault in said(_try_estimator, config.metagrad, config.inner, examples):
            yield fault if fault.startswith("metagrad.") else f"metagrad.options = {config.metagrad.options!r}: {fault}"


def _try_estimator(config: Metagrad, inner: method.InnerConfig, examples: int) -> None:
    with blamed(f"metagrad.name = {config.name!r}", metagrad.ESTIMATORS[config.name].__module__):
        try_estimator(make_estimator(config), inner, examples)
