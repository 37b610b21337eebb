"""A pretrained model without a run: in which words it is asked, and by which settings it adapts.

Nothing is meta-trained, so there is no scorer: all practice that is well formed counts the same.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from mass_jax import metagrad, records
from mass_jax.adapt.learner import Learner
from mass_jax.adapt.neighbours import Pool
from mass_jax.adapt.run import Recipe
from mass_jax.errors import InputError, not_one_of
from mass_jax.mass.actor import Actor
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, Method, ScorerConfig
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import source
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.runtime.workdir import CONFIG_FILE
from mass_jax.tasks.base import Domain
from mass_jax.tasks.domain import LanguageTokenizer
from mass_jax.tasks.mathematics import prompts as sections
from mass_jax.tasks.registry import DOMAINS

DOMAIN, PROMPTS = "mathematics", "gsm8k"
"""What a model is asked by where nothing is chosen: it reads any text as a problem."""


class Settings(NamedTuple):
    """How problems of a domain are adapted to by a model that was not trained for it.

    Attributes:
      task: fields of the domain's declaration. Which problems these draw or fetch plays no part: none are.
      context: tokens that the model is set up for, or fewer where it has fewer.
      loss_chunk: positions whose logits are alive at once.
      lengths: padded lengths in tokens.
      generator: how much practice, and how it is sampled.
      inner: the update.
      lora: what it adapts.
    """

    task: Mapping[str, Any]
    context: int
    loss_chunk: int
    lengths: LengthConfig
    generator: GeneratorConfig
    inner: InnerConfig
    lora: LoraConfig


_COUNTS = dict.fromkeys(("train_problems", "validation_problems", "test_problems"), 2)
SETTINGS = {
    # Of the configs that were tuned for SmolLM2-135M: configs/gsm8k_smollm2.py and configs/smollm2_135m.py.
    "mathematics": Settings(
        task=_COUNTS | {"dataset": "gsm8k", "source": "public", "test_ids": "", "seed": 0, "data_dir": ""},
        context=1024,
        loss_chunk=256,
        lengths=LengthConfig(prompt=448, solution=192, synthesis=224, practice=384, check=512),
        generator=GeneratorConfig(examples=3, temperature=0.5),
        inner=InnerConfig(1, "fresh", "normalized_sgd", learning_rate=0.5, problems_at_once=1),
        lora=LoraConfig(8, "(q|v)_proj"),
    ),
    "operators": Settings(
        task=_COUNTS
        | {"rules": 66, "rules_seed": 0, "validation_families": 10, "test_families": 26, "seed": 0, "data_dir": ""},
        context=128,
        loss_chunk=1024,
        lengths=LengthConfig(prompt=64, solution=4, synthesis=10, practice=40, check=40),
        generator=GeneratorConfig(examples=4, temperature=0.7),
        inner=InnerConfig(2, "fresh", "normalized_sgd", learning_rate=0.5, problems_at_once=8),
        lora=LoraConfig(8, ".*_proj"),
    ),
}
"""By the domain's name; one with a vocabulary of its own is for models that are pretrained on it, in a run."""


def names_model(name: str | os.PathLike[str]) -> bool:
    """Whether a name is a pretrained model's; if not, it is the directory of a run.

    Raises:
      InputError: there is nothing of that name that could be either.
    """
    if not isinstance(name, str | os.PathLike):
        raise InputError(f"model = {name!r} is no name: give the directory of a run, or a pretrained model.")
    path = Path(os.path.expanduser(name))
    if not os.path.isdir(path):  # unlike `Path.is_dir` also where the name is too long for a file
        return True  # `source` says where there is none
    try:
        found = records.parsed((path / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"there is neither a run nor a model in '{path}': its {CONFIG_FILE} cannot be read ({error}). Give the "
            "directory of a run, or of a model in Hugging Face's layout."
        ) from None
    of_a_model = isinstance(found, dict) and bool({"model_type", "architectures"} & found.keys())
    if not of_a_model and not (isinstance(found, dict) and "arms" in found):
        raise InputError(
            f"there is neither a run nor a model in '{path}': its {CONFIG_FILE} has neither the arms of a run nor the "
            "model_type of a model. Give the directory of one."
        )
    return of_a_model


def load(name: str, domain: str = DOMAIN, prompts: str | os.PathLike[str] = PROMPTS) -> Learner:
    """A model that writes practice, weighs all of it the same, and adapts by the domain's `SETTINGS`.

    Args:
      name: whatever `models.pretrained.source` resolves.
      domain: of `SETTINGS`.
      prompts: of mathematics: the words of a data set, or a file of one's own; see `tasks.mathematics.prompts`.

    Raises:
      InputError: there is no such model, domain or prompts, or the model cannot be used with them.
    """
    if domain not in SETTINGS:
        raise InputError(f"domain = {domain!r} {not_one_of(SETTINGS, str(domain))}")
    settings = SETTINGS[domain]
    try:
        whole = source.load_config(name)
        made = _domain(domain, prompts, source.load_tokenizer(name))
    except PretrainedError as error:
        if os.path.exists(os.path.expanduser(name)) or name.startswith(source.PACKAGE):
            raise
        raise InputError(f"{name!r} is no directory of a run, nor a model: {error}") from None
    model = dataclasses.replace(
        whole, context=min(whole.context, settings.context), scan_layers=True, loss_chunk=settings.loss_chunk
    )
    parts = settings.lengths, settings.generator, ScorerConfig("uniform"), settings.inner
    try:
        method = Method(model, settings.lora, *parts, metagrad.Adjoint())
    except ValueError as error:
        raise InputError(f"{name!r} is too small for {domain}: {error}") from None
    actor = Actor(source.load_params(name, model), method, made)
    return Learner(actor, {}, Recipe("own"), Pool(actor, ()), jax.random.key(0), batch=1)


def _domain(name: str, prompts: str | os.PathLike[str], tokenizer: LanguageTokenizer) -> Domain:
    """The domain in the words of the prompts, as a chat where the model has a template."""
    fields: dict[str, Any] = {"name": name, **SETTINGS[name].task}
    if name == "mathematics":
        try:
            file = os.path.expanduser(prompts)
            worked = sections.worked_practice(sections.load(file))
        except (OSError, TypeError, ValueError) as error:
            raise InputError(f"prompts = {prompts!r}: {error}") from None
        fields |= {"prompts": file, "shots": min(1, len(worked))}
    elif prompts != PROMPTS:
        raise InputError(f"prompts = {prompts!r}: {name} has words of its own; leave them out.")
    return DOMAINS[name].model_validate(fields).make(tokenizer)
