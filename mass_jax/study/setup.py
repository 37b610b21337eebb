"""From a config to the domain and the method that a run works with."""

import ml_collections

from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, Method, ScorerConfig
from mass_jax.mass.state import OuterConfig
from mass_jax.models.config import ModelConfig
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import source
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.study.estimator import make_estimator
from mass_jax.tasks import registry
from mass_jax.tasks.base import Domain
from mass_jax.tasks.domain import OwnWords


def make_domain(config: ml_collections.ConfigDict) -> Domain:
    """The task of ``config.task``, and the tokenizer of its vocabulary or of the pretrained model."""
    declared = registry.read(config.task)
    if isinstance(declared, OwnWords):
        return declared.make(WordTokenizer(declared.vocabulary()))
    return declared.make(source.load_tokenizer(config.model.source))


def make_model(config: ml_collections.ConfigDict, domain: Domain | None = None) -> ModelConfig:
    """The architecture of ``config.model``: a pretrained model's, or one with the domain's vocabulary."""
    options = dict(config.model)
    if "source" in options:
        return source.load_config(**options)
    if domain is None:
        domain = make_domain(config)
    return ModelConfig(vocab_size=domain.tokenizer.vocab_size, **options)


def make_method(config: ml_collections.ConfigDict, domain: Domain | None = None) -> Method:
    """The static description of the method; the domain of a pretrained model need not be at hand."""
    return Method(
        model=make_model(config, domain),
        lora=LoraConfig(**config.lora),
        lengths=LengthConfig(**{name: config.lengths[name] for name in LengthConfig.__dataclass_fields__}),
        generator=GeneratorConfig(**config.generator),
        scorer=ScorerConfig(**config.scorer),
        inner=InnerConfig(**config.inner),
        estimator=make_estimator(config.metagrad),
    )


def make_outer(train: ml_collections.ConfigDict) -> OuterConfig:
    """What is optimised, of an arm's ``config.train``.

    Raises:
      ValueError: it contradicts itself.
    """
    return OuterConfig(**{name: train[name] for name in OuterConfig.__dataclass_fields__})
