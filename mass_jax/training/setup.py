"""From a config to the objects that a run works with."""

import ast
from collections.abc import Sequence
from typing import NamedTuple

import grain
import ml_collections

from mass_jax import metagrad
from mass_jax.mass.generator import Domain
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, Method, ScorerConfig
from mass_jax.models.lora import LoraConfig
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.models.transformer import ModelConfig
from mass_jax.tasks import pipeline
from mass_jax.tasks.arithmetic import builder, documents
from mass_jax.tasks.arithmetic.rules import make_rules
from mass_jax.tasks.arithmetic.task import ArithmeticTask
from mass_jax.tasks.base import Problem


class Splits(NamedTuple):
    """The problems of every split."""

    pretrain: Sequence[Problem]
    train: Sequence[Problem]
    validation: Sequence[Problem]
    test: Sequence[Problem]


def make_domain(config: ml_collections.ConfigDict) -> Domain:
    """The task of ``config.task`` and its tokenizer."""
    task = ArithmeticTask(make_rules(config.task.rules, config.task.rules_seed))
    return Domain(task, WordTokenizer(task.vocabulary))


def make_splits(config: ml_collections.ConfigDict) -> Splits:
    """The problems of ``config.task``, written to disk first if they are not there yet."""
    options = dict(config.task)
    data_dir = options.pop("data_dir") or None
    return Splits(*(builder.load(builder.ArithmeticConfig(**options), split, data_dir) for split in Splits._fields))


def make_documents(
    config: ml_collections.ConfigDict,
    domain: Domain,
    splits: Splits,
    kinds: Sequence[str],
    length: int,
    batch_size: int,
    seed: int,
) -> grain.DatasetIterator:
    """An endless stream of pretraining documents, int32 [batch_size, length]; see `documents.KINDS`.

    No document poses a problem of the validation or the test split.
    """
    write = documents.document_writer(
        make_rules(config.task.rules, config.task.rules_seed), kinds, (*splits.validation, *splits.test)
    )
    return pipeline.document_batches(
        splits.pretrain, write, domain.tokenizer, length=length, batch_size=batch_size, seed=seed
    )


def make_model(config: ml_collections.ConfigDict, domain: Domain) -> ModelConfig:
    """The architecture of ``config.model`` with the domain's vocabulary."""
    return ModelConfig(vocab_size=domain.tokenizer.vocab_size, **config.model)


def make_method(config: ml_collections.ConfigDict, domain: Domain) -> Method:
    """The static description of the method."""
    return Method(
        model=make_model(config, domain),
        lora=LoraConfig(**config.lora),
        lengths=LengthConfig(**{name: config.lengths[name] for name in LengthConfig.__dataclass_fields__}),
        generator=GeneratorConfig(**config.generator),
        scorer=ScorerConfig(**config.scorer),
        inner=InnerConfig(**config.inner),
        estimator=make_estimator(config.metagrad),
    )


def make_estimator(config: ml_collections.ConfigDict) -> metagrad.CotangentEstimator:
    """The estimator of ``config.metagrad``: its name, and its options as a string of Python keywords.

    Raises:
      ValueError: an unknown name or option, options that cannot be read, or an estimator that cannot take a cotangent.
    """
    try:
        call = ast.parse(f"options({config.options})", mode="eval").body
        assert isinstance(call, ast.Call) and not call.args
        options = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError, AssertionError):
        raise ValueError(
            f"metagrad.options = {config.options!r} cannot be read: write Python keywords with plain values, such as "
            '"window=1, microbatch=2", or leave it empty.'
        ) from None
    estimator = metagrad.make(config.name, **options)
    if not isinstance(estimator, metagrad.CotangentEstimator):
        able = sorted(name for name, kind in metagrad.ESTIMATORS.items() if kind.needs_cotangent)
        raise ValueError(
            f"metagrad.name = {config.name!r} only compares outer losses, but here the adapted weights sample and are "
            f"graded before the outer loss is known: choose one that takes its gradient, {', '.join(able)}."
        )
    return estimator
