"""Every field of a config: its type and range, and what fields mean to each other.

`check` is called at the door of every program, before anything is read, loaded, computed or written. What the method's
own dataclasses hold (`mass.method`, `mass.state`) is not said again here: the schema is made of them.
"""

import functools
import operator
import re
from collections.abc import Iterator
from typing import Annotated, Any

import ml_collections
from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError, create_model
from pydantic.dataclasses import dataclass

from mass_jax import metagrad
from mass_jax.errors import InputError, not_one_of, said
from mass_jax.fields import (
    FORBID,
    MOST,
    Count,
    CountOrNone,
    Flag,
    Gain,
    Names,
    Positive,
    Seed,
    Several,
    Text,
    Weight,
    one_of,
    other_than,
)
from mass_jax.mass import method
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, ScorerConfig
from mass_jax.mass.state import OuterConfig
from mass_jax.models.config import PROJECTIONS, ModelConfig
from mass_jax.runtime.configs import flatten
from mass_jax.study import arms, plugins
from mass_jax.study.estimator import make_estimator, try_estimator
from mass_jax.study.sentences import sentences
from mass_jax.tasks.domain import DomainConfig, Drawn, OwnWords
from mass_jax.tasks.registry import DOMAINS

DTYPES = ("float32", "bfloat16", "float16")
SHARED = ("arms", "evaluate", "gate", "lengths", "mesh", "pretrain", "targets", "task")
"""Groups that no arm can override: they are of the base, or of the evaluation that all arms share."""
RUNTIME = ("context", "scan_layers", "scan_decode", "remat", "remat_keeps", "loss_chunk", "dtype")
"""Fields of the model that an arm can override, for they leave its parameters what they are."""


class Group(BaseModel):
    """Fields of one kind; there are no others."""

    model_config = FORBID


class Runtime(Group):
    """How a model is run: see `models.config.ModelConfig`."""

    context: Count | None = None
    scan_layers: Flag = False
    scan_decode: Flag = False
    remat: Flag = False
    remat_keeps: Names = ()
    loss_chunk: Count | None = None
    dtype: Annotated[Text, one_of(DTYPES)] | None = None
    param_dtype: Annotated[Text, one_of(DTYPES)] = "float32"


class Own(Runtime):
    """A model that is pretrained here, on the vocabulary of its task."""

    context: Count
    width: Count
    layers: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    mlp_width: Count
    rope_theta: Positive = ModelConfig.rope_theta
    norm_eps: Weight = ModelConfig.norm_eps
    tie_embeddings: Flag = ModelConfig.tie_embeddings
    qkv_bias: Flag = ModelConfig.qkv_bias
    qk_norm: Flag = ModelConfig.qk_norm
    activation: Text = ModelConfig.activation
    norm_plus_one: Flag = ModelConfig.norm_plus_one
    post_norms: Flag = ModelConfig.post_norms
    embed_scale: Positive = ModelConfig.embed_scale


class Pretrained(Runtime):
    """A model that others have pretrained; see `models.pretrained.source`."""

    source: Annotated[Text, Field(min_length=1)]


class Pretrain(Group):
    """See `study.pretrain`."""

    steps: Count
    short_batch: Count
    long_batch: Count
    tables: CountOrNone
    learning_rate: Weight
    adam_ratio: Weight
    warmup_steps: CountOrNone
    decay_steps: CountOrNone


Axis = Annotated[int, Field(strict=True, ge=-1, le=MOST), other_than(0, "give 1 or more, or -1 for what is left")]


class Mesh(Group):
    """Sizes of its axes; whether they make up the devices is seen where the devices are (`parallel.mesh`)."""

    data: Axis
    fsdp: Axis
    tensor: Axis


class Lora(Group):
    """See `models.lora.LoraConfig`."""

    rank: Count
    targets: Text


@dataclass(frozen=True, kw_only=True, config=FORBID)
class Lengths(LengthConfig):
    """The method's, and those of pretraining documents."""

    short_document: Count
    long_document: Count


class Metagrad(Group):
    """See `metagrad.registry`; the options are read by `study.estimator`."""

    name: Annotated[Text, one_of(metagrad.ESTIMATORS)]
    options: Text


@dataclass(frozen=True, kw_only=True, config=FORBID)
class Train(OuterConfig):
    """What is optimised, and the loop around it: see `study.meta`, and `runtime.guard` for spikes."""

    steps: Count
    problems: Count
    replay_batch: Count
    save_every: Count
    spike_factor: Annotated[Positive, Field(ge=1)]
    spike_window: Count
    spike_patience: CountOrNone

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, count, divisor in (
            ("problems", self.problems, "parts"),
            ("problems / train.parts", self.problems // self.parts, "microbatches"),
            ("replay_batch", self.replay_batch, "microbatches"),
        ):
            if count % getattr(self, divisor):
                raise ValueError(
                    f"train.{name} = {count} is not a multiple of train.{divisor} = {getattr(self, divisor)}: "
                    "choose one."
                )


class Gate(Group):
    """See `experiments.gate`."""

    problems: Several
    oracle_gain: Gain
    strict_gain: Gain


class Targets(Group):
    """What the report holds a run to."""

    problems: CountOrNone
    minutes: Positive


class Evaluate(Group):
    """See `experiments.evaluate`."""

    batch: Count
    checked: Count
    skip: Names


class Config(Group):
    """A whole config; `configs/demo.py` says what every field is for."""

    seed: Seed
    task: DomainConfig
    model: Annotated[
        Annotated[Own, Tag("own")] | Annotated[Pretrained, Tag("pretrained")],
        Discriminator(lambda model: "pretrained" if isinstance(model, dict) and "source" in model else "own"),
    ]
    pretrain: Pretrain
    mesh: Mesh
    lora: Lora
    lengths: Lengths
    generator: GeneratorConfig
    scorer: ScorerConfig
    inner: InnerConfig
    metagrad: Metagrad
    train: Train
    arms: dict[str, dict[str, Any]]
    gate: Gate
    targets: Targets
    evaluate: Evaluate
    plugins: Names = ()


def check(config: ml_collections.ConfigDict) -> None:
    """Check all fields of a config, by themselves and with each other, as they are and as every arm has them.

    Raises:
      InputError: with a sentence for every fault.
    """
    plugins.load(config)  # first: they declare what fields may name
    found: dict[str, list[str]] = dict.fromkeys(faults(config), [])
    if not found:
        found = dict.fromkeys(_of_the_arms(config), [])
    if not found:
        for name in config.arms:
            for fault in faults(arm_config(config, name)):
                found.setdefault(fault, []).append(name)
    if found:
        said = (f"in config.arms.{', '.join(arms)}: {fault}" if arms else fault for fault, arms in found.items())
        raise InputError("\n".join(said))


def arm_config(config: ml_collections.ConfigDict, name: str) -> ml_collections.ConfigDict:
    """The config with the overrides of ``config.arms.<name>``, whose ``label`` is what the tables call it.

    Raises:
      InputError: if there is no such arm, or it overrides a field that does not exist.
    """
    if name not in config.arms:
        raise InputError(f"there is no arm {name!r} in config.arms: choose from {', '.join(sorted(config.arms))}.")
    merged = ml_collections.ConfigDict(config.to_dict())
    merged.lock()
    overrides = config.arms[name].to_dict()
    overrides.pop("label", None)
    try:
        with merged.ignore_type():  # types are checked by the schema, in better sentences
            merged.update(overrides)
    except (AttributeError, KeyError) as error:
        raise InputError(f"config.arms.{name} overrides a field that does not exist: {error}.") from None
    return merged


def faults(config: ml_collections.ConfigDict) -> Iterator[str]:
    """A sentence for every fault of a config, but its arms'. Contradictions are sought between sound fields only."""
    try:
        read = _with_domains(tuple(DOMAINS.values())).model_validate(config.to_dict())
    except ValidationError as error:
        yield from sentences(error, _name, list(flatten(config)))
    else:
        for said in (_of_the_task(read, config), _of_the_model(read, config), _of_the_method(read, config)):
            yield from said


@functools.cache
def _with_domains(kinds: tuple[type[DomainConfig], ...]) -> type[Config]:
    """`Config` for a task of one of these kinds."""
    task: Any = Annotated[functools.reduce(operator.or_, kinds), Field(discriminator="name")]
    return create_model("Config", __base__=Config, task=(task, ...))


def _name(path: tuple[Any, ...]) -> str:
    """The dotted name of a field; the kind of a task or model is no part of it."""
    kinds = (*DOMAINS, "own", "pretrained")
    return ".".join(str(part) for i, part in enumerate(path) if not (i == 1 and part in kinds))


def _of_the_task(read: Config, config: ml_collections.ConfigDict) -> Iterator[str]:
    task, gate = read.task, read.gate
    yield from task.contradictions()
    if isinstance(task, Drawn) and gate.problems > task.validation_problems:
        yield (
            f"gate.problems = {gate.problems}: there are task.validation_problems = {task.validation_problems}; ask "
            "for fewer."
        )
    if isinstance(task, OwnWords) != isinstance(read.model, Own):
        own = ", ".join(name for name, kind in DOMAINS.items() if issubclass(kind, OwnWords))
        yield (
            f"task.name = {task.name!r}: {own} has words of its own, for a model that is pretrained here, and all "
            "other tasks are for pretrained models: give model.source for those, and only for those."
        )


def _of_the_model(read: Config, config: ml_collections.ConfigDict) -> Iterator[str]:
    model, lengths, settings = read.model, read.lengths, read.pretrain
    yield from said(ModelConfig, vocab_size=1, **{name: x for name, x in config.model.items() if name != "source"})
    documents = {"long_document": lengths.long_document}
    if isinstance(model, Own):
        documents["short_document"] = lengths.short_document
        if settings.warmup_steps + settings.decay_steps > settings.steps:
            yield (
                f"pretrain.warmup_steps = {settings.warmup_steps} and pretrain.decay_steps = {settings.decay_steps} "
                f"are together more than pretrain.steps = {settings.steps}: give fewer."
            )
    for name, length in documents.items():
        if model.context is not None and length - 1 > model.context:
            yield f"lengths.{name} = {length} exceeds model.context = {model.context} by more than its last token."
    if [size for _, size in read.mesh].count(-1) > 1:
        sizes = ", ".join(f"mesh.{axis} = {size}" for axis, size in read.mesh)
        yield f"{sizes}: only one can be -1, for the devices that the others leave; give the sizes of the others."
    try:
        if not any(re.fullmatch(read.lora.targets, name) for name in PROJECTIONS):
            yield f"lora.targets = {read.lora.targets!r} matches none of {', '.join(PROJECTIONS)}."
    except re.error as error:
        yield f"lora.targets = {read.lora.targets!r} is no regular expression ({error}): try '.*_proj'."


def _of_the_method(read: Config, config: ml_collections.ConfigDict) -> Iterator[str]:
    examples = read.generator.examples
    found = list(method.contradictions(read.generator, read.inner, read.lengths, read.model.context or MOST))
    yield from found
    if not found:
        for fault in said(lambda: try_estimator(make_estimator(config.metagrad), read.inner, examples)):
            yield fault if fault.startswith("metagrad.") else f"metagrad.options = {config.metagrad.options!r}: {fault}"


def _of_the_arms(config: ml_collections.ConfigDict) -> Iterator[str]:
    """What is wrong with arms and rows of the table, and with their names."""
    for name, overrides in config.arms.to_dict().items():
        if not isinstance(label := overrides.pop("label", ""), str):
            yield f"config.arms.{name}.label = {label!r}: give a text."
        for group, fields in overrides.items():
            if group in config and isinstance(config[group], ml_collections.ConfigDict) != isinstance(fields, dict):
                yield f"config.arms.{name}.{group} = {fields!r}: give a value of the kind that config.{group} is."
            elif group in SHARED:
                yield (
                    f"config.arms.{name}.{group}: all arms share {group}; set config.{group}, or make a study of its "
                    "own for the arm."
                )
            elif group == "model" and (fixed := sorted(set(fields) - set(RUNTIME))):
                yield (
                    f"config.arms.{name}.model.{fixed[0]}: all arms train one base; only {', '.join(RUNTIME)} may "
                    "differ."
                )
    named = plugins.load(config)
    yield from said(lambda: arms.table({name: arm_config(config, name).train.practice for name in config.arms}, named))
    known = (*arms.declared(named), *config.arms)
    for row in config.evaluate.skip:
        if row not in known:
            yield f"evaluate.skip: {row!r} {not_one_of(known, row)}"
    if "base" in config.evaluate.skip:
        yield "evaluate.skip: 'base' is what all others are compared with; leave it in."
