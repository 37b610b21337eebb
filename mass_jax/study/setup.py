"""From a config to the objects that a run works with."""

import ast
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_origin, get_type_hints

import grain
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import logging
from pydantic import AllowInfNan, TypeAdapter, ValidationError

from mass_jax import metagrad
from mass_jax.mass import inner
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, Method, ScorerConfig
from mass_jax.mass.packing import fits
from mass_jax.mass.state import OuterConfig
from mass_jax.metagrad import optimizers
from mass_jax.models.config import ModelConfig
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import source
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.tasks import pipeline
from mass_jax.tasks.arithmetic import builder, documents
from mass_jax.tasks.arithmetic.rules import make_rules
from mass_jax.tasks.arithmetic.task import ArithmeticTask
from mass_jax.tasks.base import Domain, Problem
from mass_jax.tasks.mathematics import builder as mathematics
from mass_jax.tasks.mathematics import prompts
from mass_jax.tasks.mathematics.grading import Grader
from mass_jax.tasks.mathematics.task import MathematicsTask
from mass_jax.tasks.operators import builder as operators
from mass_jax.tasks.operators import rules as operator_rules
from mass_jax.tasks.operators.task import OperatorsTask
from mass_jax.types import Array, InnerProblem, Meta, Params, PyTree, Sequences

STAND_IN = 4096
"""Numbers in the adapter that an estimator is tried on; nothing is computed."""


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
    tokenizer = source.load_tokenizer(config.model.source)
    if config.task.name == "operators":
        rules = operator_rules.make_rules(config.task.rules, config.task.rules_seed)
        return Domain(OperatorsTask(rules), tokenizer.ending_with("\n"))
    mathematical = MathematicsTask(
        prompts.load(config.task.prompts or config.task.dataset),
        Grader(),
        tokenizer.chat if tokenizer.has_chat_template else None,
        tokenizer.special_tokens,
        config.task.shots,
    )
    reads = tokenizer.for_chats() if tokenizer.has_chat_template else tokenizer
    return Domain(mathematical, reads, mathematical.stops)


def describe_data(
    config: ml_collections.ConfigDict,
) -> builder.ArithmeticConfig | operators.OperatorsConfig | mathematics.MathematicsConfig:
    """Which problems ``config.task`` asks for; nothing is read or written.

    Raises:
      ValueError: no data can be as its fields say.
    """
    kinds = {"arithmetic": builder.ArithmeticConfig, "operators": operators.OperatorsConfig}
    kind = kinds.get(config.task.name, mathematics.MathematicsConfig)
    own = [field for field in config.task if field != "name" and field in kind.__dataclass_fields__]
    return kind(**{field: config.task[field] for field in own})


def make_splits(config: ml_collections.ConfigDict, domain: Domain, method: Method) -> Splits:
    """The problems of ``config.task``, written to disk first if they are not there yet.

    Of mathematics, problems that are longer than ``config.lengths`` allow are left out, and how many is said.
    """
    task, data_dir, chosen = config.task, config.task.data_dir or None, describe_data(config)
    if isinstance(chosen, builder.ArithmeticConfig):
        return Splits(*(builder.load(chosen, split, data_dir) for split in Splits._fields))
    if isinstance(chosen, operators.OperatorsConfig):
        return Splits((), *(operators.load(chosen, split, data_dir) for split in chosen.splits))
    most = {"test": task.test_problems, "train": task.train_problems}

    def load(split: str) -> Sequence[Problem]:
        found = mathematics.load(chosen, split, data_dir)
        fitting: list[Problem] = []
        read = 0
        for problem in found:  # no further than needed: encoding thousands of prompts takes minutes
            read += 1
            if _fits(domain, method.lengths, config.lengths.long_document if split == "train" else None, problem):
                fitting.append(problem)
            if fitting and len(fitting) == most.get(split):  # 0 is for all
                break
        if len(fitting) < read:
            logging.warning("%s: %d of %d problems exceed config.lengths", split, read - len(fitting), read)
        if read and not fitting:
            raise ValueError(
                f"none of the {read} problems of {chosen.dataset}'s {split} split fits config.lengths: raise "
                f"lengths.prompt = {config.lengths.prompt}, lengths.solution = {config.lengths.solution} or, for "
                f"training problems, lengths.long_document = {config.lengths.long_document}."
            )
        return tuple(fitting)

    return Splits((), load("train"), load("validation") if chosen.validation_problems else (), load("test"))


def _fits(domain: Domain, lengths: LengthConfig, document: int | None, problem: Problem) -> bool:
    """Whether it can be posed and solved, and where documents are to be made of it, be one."""
    solve = domain.task.solve_prompt(problem.prompt)
    prompts = [solve, domain.task.synthesis_prompt(problem)]
    return (
        all(fits(domain.tokenizer, prompt, "", lengths.prompt, end=False) for prompt in prompts)
        and fits(domain.tokenizer, "", problem.solution, lengths.solution)
        and (document is None or fits(domain.tokenizer, "", solve + problem.solution, document))
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
    problems, write = document_writer(config, domain, splits, kinds)
    return pipeline.document_batches(problems, write, domain.tokenizer, length=length, batch_size=batch_size, seed=seed)


def document_writer(
    config: ml_collections.ConfigDict, domain: Domain, splits: Splits, kinds: Sequence[str]
) -> tuple[Sequence[Problem], Callable[[Problem, np.random.Generator], str]]:
    """What documents are about, and what writes one; see `make_documents`."""
    if config.task.name != "arithmetic":
        return splits.train, lambda problem, rng: domain.task.solve_prompt(problem.prompt) + problem.solution
    rules = make_rules(config.task.rules, config.task.rules_seed)
    return splits.pretrain, documents.document_writer(rules, kinds, (*splits.validation, *splits.test))


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
      ValueError: an unknown name or option, options that cannot be read or have no meaning, or an estimator that cannot
        take a cotangent.
    """
    try:
        call = ast.parse(f"options({config.options})", mode="eval").body
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args
        options = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError, AssertionError):
        raise ValueError(
            f"metagrad.options = {config.options!r} cannot be read: write Python keywords with plain values, such as "
            '"window=1, microbatch=2", or leave it empty.'
        ) from None
    if config.name in metagrad.ESTIMATORS:
        hints = get_type_hints(metagrad.ESTIMATORS[config.name])
        for name in options.keys() & hints.keys():
            if not _is(hints[name], options[name]):
                raise ValueError(
                    f"metagrad.options = {config.options!r}: {name} = {options[name]!r} is not of the type "
                    f"{inspect.formatannotation(hints[name])}."
                )
    estimator = metagrad.make(config.name, **options)
    if not isinstance(estimator, metagrad.CotangentEstimator):
        able = sorted(name for name, kind in metagrad.ESTIMATORS.items() if kind.needs_cotangent)
        raise ValueError(
            f"metagrad.name = {config.name!r} only compares outer losses, but here the adapted weights sample and are "
            f"graded before the outer loss is known: choose one that takes its gradient, {', '.join(able)}."
        )
    return estimator


def _is(hint: Any, value: Any) -> bool:
    """Whether a value is of a type; whether it is one of several words, the estimator says better."""
    if get_origin(hint) is Literal:
        return True
    try:
        TypeAdapter(Annotated[hint, AllowInfNan(False)] if hint is float else hint).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@functools.cache
def try_estimator(estimator: metagrad.CotangentEstimator, config: InnerConfig, examples: int) -> None:
    """Trace an estimator on a stand-in for the adapter, with as many examples and steps as the inner run has.

    Raises:
      ValueError: it cannot be used on such a run.
    """
    rows = np.zeros((examples, 1), np.int32)
    batches = inner.schedule(config, Sequences(rows, rows > 0))

    def loss(adapter: Params, meta: Meta, batch: inner.StepBatch) -> Array:
        return jnp.sum(meta["weights"][batch.index_N]) * jnp.sum((adapter - 1.0) ** 2)

    problem = InnerProblem(loss, optimizers.scaled(inner.make_optimizer(config), lambda meta, step: meta["gate"]))

    def both(adapter: Params, meta: Meta) -> PyTree:
        run = estimator.adapt(problem, adapter, meta, batches)
        return estimator.pullback(problem, run.residuals, meta, batches, adapter)

    adapter, weights, gate = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((STAND_IN,), (examples,), ()))
    jax.eval_shape(both, adapter, {"weights": weights, "gate": gate})
