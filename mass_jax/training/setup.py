"""From a config to the objects that a run works with."""

import ast
from collections.abc import Sequence
from typing import NamedTuple

import grain
import ml_collections
import numpy as np
from absl import logging

from mass_jax import metagrad
from mass_jax.mass.generator import Domain
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, Method, ScorerConfig
from mass_jax.mass.outer import OuterConfig
from mass_jax.mass.packing import fits
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import source
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.models.transformer import ModelConfig
from mass_jax.tasks import pipeline
from mass_jax.tasks.arithmetic import builder, documents
from mass_jax.tasks.arithmetic.rules import make_rules
from mass_jax.tasks.arithmetic.task import ArithmeticTask
from mass_jax.tasks.base import Problem
from mass_jax.tasks.mathematics import builder as mathematics
from mass_jax.tasks.mathematics import prompts
from mass_jax.tasks.mathematics.grading import Grader
from mass_jax.tasks.mathematics.task import MathematicsTask
from mass_jax.tasks.operators import builder as operators
from mass_jax.tasks.operators import rules as operator_rules
from mass_jax.tasks.operators.task import OperatorsTask


class Splits(NamedTuple):
    """The problems of every split."""

    pretrain: Sequence[Problem]
    train: Sequence[Problem]
    validation: Sequence[Problem]
    test: Sequence[Problem]


def make_domain(config: ml_collections.ConfigDict) -> Domain:
    """The task of ``config.task``, and the tokenizer of its vocabulary or of the pretrained model."""
    if config.task.name == "arithmetic":
        task = ArithmeticTask(make_rules(config.task.rules, config.task.rules_seed))
        return Domain(task, WordTokenizer(task.vocabulary))
    if config.task.name not in ("operators", "mathematics"):
        raise ValueError(f"task.name = {config.task.name!r} is not one of arithmetic, operators, mathematics.")
    tokenizer = source.load_tokenizer(config.model.source)
    if config.task.name == "operators":
        rules = operator_rules.make_rules(config.task.rules, config.task.rules_seed)
        return Domain(OperatorsTask(rules), tokenizer.ending_with("\n"))
    return Domain(
        MathematicsTask(
            prompts.load(config.task.prompts or config.task.dataset),
            Grader(),
            tokenizer.chat if tokenizer.has_chat_template else None,
            tokenizer.special_tokens,
            config.task.shots,
        ),
        tokenizer.for_chats() if tokenizer.has_chat_template else tokenizer,
    )


def make_splits(config: ml_collections.ConfigDict, domain: Domain, method: Method) -> Splits:
    """The problems of ``config.task``, written to disk first if they are not there yet.

    Of mathematics, problems that are longer than ``config.lengths`` allow are left out, and how many is said.
    """
    options = dict(config.task)
    name, data_dir = options.pop("name"), options.pop("data_dir") or None
    if name == "arithmetic":
        return Splits(*(builder.load(builder.ArithmeticConfig(**options), split, data_dir) for split in Splits._fields))
    if name == "operators":
        drawn = operators.OperatorsConfig(**options)
        return Splits((), *(operators.load(drawn, split, data_dir) for split in drawn.splits))
    del options["prompts"], options["shots"]
    most = {"test": options.pop("test_problems"), "train": options.pop("train_problems")}
    chosen = mathematics.MathematicsConfig(**options)

    def load(split: str) -> Sequence[Problem]:
        found = mathematics.load(chosen, split, data_dir)
        fitting: list[Problem] = []
        read = 0
        for problem in found:  # no further than needed: encoding thousands of prompts takes minutes
            read += 1
            if _fits(domain, method.lengths, problem):
                fitting.append(problem)
            if fitting and len(fitting) == most.get(split):  # 0 is for all
                break
        if len(fitting) < read:
            logging.warning("%s: %d of %d problems exceed config.lengths", split, read - len(fitting), read)
        if read and not fitting:
            raise ValueError(
                f"none of the {read} problems of {chosen.dataset}'s {split} split fits config.lengths: raise "
                f"lengths.prompt = {config.lengths.prompt} or lengths.solution = {config.lengths.solution}."
            )
        return tuple(fitting)

    return Splits((), load("train"), load("validation") if chosen.validation_problems else (), load("test"))


def _fits(domain: Domain, lengths: LengthConfig, problem: Problem) -> bool:
    prompts = [domain.task.solve_prompt(problem.prompt), domain.task.synthesis_prompt(problem)]
    return all(fits(domain.tokenizer, prompt, "", lengths.prompt, end=False) for prompt in prompts) and fits(
        domain.tokenizer, "", problem.solution, lengths.solution
    )


def make_documents(
    config: ml_collections.ConfigDict,
    domain: Domain,
    splits: Splits,
    kinds: Sequence[str],
    length: int,
    batch_size: int,
    seed: int,
) -> grain.DatasetIterator:
    """An endless stream of documents, sequences [batch_size, length].

    Of arithmetic, what the base is pretrained on (see `documents.KINDS`); none poses a problem of the validation or the
    test split. Of the other domains, training problems with their reference solutions.
    """
    if config.task.name != "arithmetic":

        def solved(problem: Problem, rng: np.random.Generator) -> str:
            return domain.task.solve_prompt(problem.prompt) + problem.solution

        return pipeline.document_batches(
            splits.train, solved, domain.tokenizer, length=length, batch_size=batch_size, seed=seed
        )
    write = documents.document_writer(
        make_rules(config.task.rules, config.task.rules_seed), kinds, (*splits.validation, *splits.test)
    )
    return pipeline.document_batches(
        splits.pretrain, write, domain.tokenizer, length=length, batch_size=batch_size, seed=seed
    )


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
