"""What goes wrong with files of other people's making."""


class PretrainedError(ValueError):
    """A model, tokenizer or adapter cannot be read; the message names the file, what is wrong, and the way out."""
