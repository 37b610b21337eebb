"""What goes wrong with files of other people's making."""

from mass_jax.errors import InputError


class PretrainedError(InputError):
    """A model, tokenizer or adapter cannot be read; the message names the file, what is wrong, and the way out."""
