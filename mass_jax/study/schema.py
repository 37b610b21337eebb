"""Every field of a config, with its type and its range; what fields mean to each other is in `contradictions`.

What the method's own dataclasses hold (`mass.method`, `mass.state`) is not said again here: the schema is made of them.
"""

import copy
import functools
import operator
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import BaseModel, Discriminator, Field, PrivateAttr, Tag, create_model
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from mass_jax import metagrad
from mass_jax.fields import (
    FORBID,
    FROZEN,
    MOST,
    Count,
    CountOrNone,
    Flag,
    Gain,
    Names,
    Positive,
    Seed,
    Several,
    ShareOrNone,
    Text,
    Weight,
    one_of,
    other_than,
)
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, ScorerConfig
from mass_jax.mass.state import OuterConfig
from mass_jax.models.config import ModelConfig
from mass_jax.tasks.domain import DomainConfig
from mass_jax.tasks.registry import DOMAINS

DTYPES = ("float32", "bfloat16", "float16")
SHARED = ("arms", "evaluate", "gate", "lengths", "mesh", "plugins", "pretrain", "targets", "task")
"""What no arm can override: it is of the base, or of the evaluation that all arms share."""
RUNTIME = ("context", "scan_layers", "scan_decode", "remat", "remat_keeps", "loss_chunk", "dtype")
"""Fields of the model that an arm can override, for they leave its parameters what they are."""


class Group(BaseModel):
    """Fields of one kind; there are no others."""

    model_config = FROZEN


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
    """See `study.pretrain`.

    Attributes:
      average: share of the newest parameters in the running average, which then is the base; 0 for the last ones.
      until: pretraining ends once the base solves this share of the gate's problems; 0 for after its steps.
    """

    steps: Count
    short_batch: Count
    long_batch: Count
    tables: CountOrNone
    learning_rate: Weight
    adam_ratio: Weight
    warmup_steps: CountOrNone
    decay_steps: CountOrNone
    average: ShareOrNone = 0.0
    until: ShareOrNone = 0.0


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
    """A whole config; `configs/demo.py` says what every field is for.

    Attributes:
      plugins: modules of your own that register what the config names.
    """

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
    arms: dict[str, dict[str, object]]
    gate: Gate
    targets: Targets
    evaluate: Evaluate
    plugins: Names = ()
    _given: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def given(self) -> dict[str, Any]:
        """The fields as they were given, without those that keep a default: what is stored with a run and compared."""
        return copy.deepcopy(self._given)


def validate(values: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Config:
    """A config of these fields, each sound by itself; its task is of a domain that is registered.

    Args:
      values: the fields.
      given: the same as they were given, where that was in the words of an earlier version (`study.earlier`).

    Raises:
      pydantic.ValidationError: with all fields that are not sound.
    """
    config = _with_domains(tuple(DOMAINS.values())).model_validate(values)
    config._given = copy.deepcopy(dict(values if given is None else given))
    return config


@functools.cache
def _with_domains(kinds: tuple[type[DomainConfig], ...]) -> type[Config]:
    """`Config` for a task of one of these kinds."""
    task: Any = Annotated[functools.reduce(operator.or_, kinds), Field(discriminator="name")]
    return create_model("Config", __base__=Config, task=(task, ...))


class Known(NamedTuple):
    """A field that a config can have.

    Attributes:
      group: the class that declares it.
      name: its own name.
      info: its type and its default.
    """

    group: type
    name: str
    info: FieldInfo


def fields_of(values: Mapping[str, Any]) -> dict[str, Known]:
    """The fields that a config can have, by their dotted names; of groups that ``values`` lack, none."""
    found = {}
    for group, whole in Config.model_fields.items():
        kinds, given = list(_classes(whole.annotation)), values.get(group)
        if not kinds:
            found[group] = Known(Config, group, whole)
        elif isinstance(given, Mapping):
            if group == "task":
                kinds = [kind for name, kind in DOMAINS.items() if name == given.get("name")]
            elif group == "model":
                kinds = [Pretrained if "source" in given else Own]
            for kind in kinds:
                for name, info in kind.__pydantic_fields__.items():
                    found[f"{group}.{name}"] = Known(kind, name, info)
    return found


def _classes(annotation: Any) -> Iterator[Any]:
    """Those of an annotation that have fields."""
    if hasattr(annotation, "__pydantic_fields__"):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _classes(argument)
