"""A trained model as others read it: its outer adapter as PEFT has it, or all of it in Hugging Face's layout."""

import shutil
from pathlib import Path

from mass_jax.errors import InputError
from mass_jax.mass.actor import Actor
from mass_jax.models import lora
from mass_jax.models.pretrained import folder, peft_format, source
from mass_jax.study.schema import Config, Pretrained

OF_A_TOKENIZER = ("tokenizer*.json", "special_tokens_map.json", "generation_config.json", "*.jinja")


def write_adapter(out: Path, config: Config, actor: Actor) -> None:
    """Write the outer adapter that was trained, for ``peft.PeftModel.from_pretrained``.

    Args:
      out: the folder; made where it is not there.
      config: the study's.
      actor: a trained model of it.

    Raises:
      InputError: all of the model's parameters were trained.
    """
    _, adapter = lora.detach(actor.params)
    if adapter is None:
        raise InputError(
            "this model has no outer adapter, for all of its parameters were trained (train.lora_rank = 0): give "
            "--merged for the whole model."
        )
    base = config.model.source if isinstance(config.model, Pretrained) else ""
    peft_format.save(out, actor.method.model, adapter, base)


def write_merged(out: Path, config: Config, actor: Actor) -> None:
    """Write the whole model, the adapter merged into it, with the tokenizer of the model that it was trained from.

    The arguments are those of `write_adapter`; a model that was pretrained here has no tokenizer that others read.
    """
    base, adapter = lora.detach(actor.params)
    folder.write(out, actor.method.model, base if adapter is None else peft_format.merge(base, adapter))
    if isinstance(config.model, Pretrained):
        home = source.folder_of(config.model.source)
        for path in {path for pattern in OF_A_TOKENIZER for path in home.glob(pattern)}:
            shutil.copyfile(path, out / path.name)
