"""The one exception family for what a person can put right."""


class InputError(ValueError):
    """A wrong input from outside: a flag, a path, a config, a checkpoint.

    Its message is a sentence that names the value, the limit and the way out. ``config.run`` prints it without a
    traceback and exits with status 2.
    """
