"""Pretrained parameters on disk, with the config that made them."""

import os

from mass_jax.runtime.checkpoint import Checkpointer, CheckpointError
from mass_jax.runtime.configs import Config
from mass_jax.types import Params


def save_params(directory: str | os.PathLike[str], params: Params, config: Config) -> None:
    """Saves pretrained parameters with the config that made them, for ``load_params`` of a later run.

    Args:
      directory: made; must not hold parameters yet.
      params: a pytree of arrays.
      config: whatever decides what these parameters are: the model, the tokenizer, the pretraining.

    Raises:
      CheckpointError: ``directory`` holds parameters already, or cannot be written.
    """
    with Checkpointer(directory, keep=1, config=config) as checkpointer:
        if not checkpointer.save(0, params):
            raise CheckpointError(
                f"'{directory}' holds parameters already, which are not overwritten. Use them, remove the directory, "
                "or choose another."
            )


def load_params(directory: str | os.PathLike[str], template: Params, config: Config) -> Params:
    """Loads what ``save_params`` saved, bitwise.

    Args:
      directory: as given to ``save_params``.
      template: parameters or their ``jax.ShapeDtypeStruct``, as for ``Checkpointer.restore``.
      config: must equal the config the parameters were saved with.

    Raises:
      CheckpointError: there are none, they cannot be read, or they were made with another config; the message then
        names every field that differs.
    """
    with Checkpointer(directory, keep=1, config=config) as checkpointer:
        return checkpointer.restore(template).state
