"""From a config to the objects that a run works with."""

import dataclasses

import ml_collections

from mass_jax import metagrad
from mass_jax.mass.generator import Domain
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, Method, ScorerConfig
from mass_jax.mass.outer import OuterConfig
from mass_jax.models.lora import LoraConfig
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.models.transformer import ModelConfig
from mass_jax.tasks.arithmetic.rules import make_rules
from mass_jax.tasks.arithmetic.task import ArithmeticTask


def make_domain(config: ml_collections.ConfigDict) -> Domain:
    """The task of ``config.task`` and its tokenizer."""
    task = ArithmeticTask(make_rules(config.task.rules, config.task.rules_seed))
    return Domain(task, WordTokenizer(task.vocabulary))


def make_model(config: ml_collections.ConfigDict, domain: Domain) -> ModelConfig:
    """The architecture of ``config.model`` with the domain's vocabulary."""
    return ModelConfig(vocab_size=domain.tokenizer.vocab_size, **config.model)


def make_method(config: ml_collections.ConfigDict, domain: Domain) -> Method:
    """The static description of the method."""
    options = dict(config.metagrad)
    return Method(
        model=make_model(config, domain),
        lora=LoraConfig(**config.lora),
        lengths=LengthConfig(**config.lengths),
        generator=GeneratorConfig(**config.generator),
        scorer=ScorerConfig(**config.scorer),
        inner=InnerConfig(**config.inner),
        estimator=metagrad.make(options.pop("name"), **options),
    )


def make_outer(train: ml_collections.ConfigDict) -> OuterConfig:
    """The part of ``config.train`` that shapes an outer step."""
    return OuterConfig(**{field.name: train[field.name] for field in dataclasses.fields(OuterConfig)})
