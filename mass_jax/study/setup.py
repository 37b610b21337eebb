"""From a config to the domain and the method that a run works with."""

from typing import Any

from mass_jax.errors import InputError, blamed
from mass_jax.mass.method import LengthConfig, Method
from mass_jax.mass.state import OuterConfig
from mass_jax.models.config import ModelConfig
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import source
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.study.estimator import make_estimator
from mass_jax.study.schema import Config, Own, Pretrained, Train
from mass_jax.tasks.base import Domain, KnowsFamily, Task
from mass_jax.tasks.domain import OwnWords


def make_domain(config: Config) -> Domain:
    """The task of ``config.task``, and the tokenizer of its vocabulary or of the pretrained model.

    Raises:
      ValueError: it makes none, or one that lacks something; of a plugin's domain, with the plugin's name.
    """
    declared = config.task
    with blamed(f"task.name = {declared.name!r}", type(declared).__module__):
        if isinstance(declared, OwnWords):
            made = declared.make(WordTokenizer(declared.vocabulary()))
        else:
            assert isinstance(config.model, Pretrained), "which model a task is for has been checked"
            made = declared.make(source.load_tokenizer(config.model.source))
        if not isinstance(made, Domain):
            raise ValueError(f"make gives {made!r}, no Domain")
        members = [name for name in vars(Task) if not name.startswith("_")]
        if lacking := [name for name in members if not hasattr(made.task, name)]:
            raise ValueError(f"{type(made.task).__name__} lacks {', '.join(lacking)}, see {Task.__module__}")
    return made


def check_families(config: Config, what: str) -> None:
    """Looks whether the domain knows the hidden rules of its problems, before anything else is loaded or computed.

    Args:
      config: the study's.
      what: cannot be had without, for the sentence.

    Raises:
      InputError: it does not.
    """
    if not isinstance(make_domain(config).task, KnowsFamily):
        raise InputError(
            f"task.name = {config.task.name!r}: {what} needs right practice of a problem's hidden rule, which this "
            "domain does not know: choose another domain."
        )


def make_model(config: Config, domain: Domain | None = None) -> ModelConfig:
    """The architecture of ``config.model``: a pretrained model's, or one with the domain's vocabulary."""
    if isinstance(config.model, Pretrained):
        return source.load_config(config.model.source, **chosen(config.model))
    if domain is None:
        domain = make_domain(config)
    return ModelConfig(vocab_size=domain.tokenizer.vocab_size, **chosen(config.model))


def chosen(model: Own | Pretrained) -> dict[str, Any]:
    """The fields of `ModelConfig` that a config gives; of a pretrained model the others are its own."""
    return model.model_dump(exclude={"source"}, exclude_unset=True, exclude_none=True)


def make_method(config: Config, domain: Domain | None = None) -> Method:
    """The static description of the method; the domain of a pretrained model need not be at hand."""
    return Method(
        model=make_model(config, domain),
        lora=LoraConfig(**dict(config.lora)),
        lengths=LengthConfig(**{name: getattr(config.lengths, name) for name in LengthConfig.__dataclass_fields__}),
        generator=config.generator,
        scorer=config.scorer,
        inner=config.inner,
        estimator=make_estimator(config.metagrad),
    )


def make_outer(train: Train) -> OuterConfig:
    """What is optimised, of an arm's ``config.train``.

    Raises:
      ValueError: it contradicts itself.
    """
    return OuterConfig(**{name: getattr(train, name) for name in OuterConfig.__dataclass_fields__})
