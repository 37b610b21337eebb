"""The one family of exceptions that a person can put right, and how their sentences help with a mistyped name."""

import difflib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any


class InputError(ValueError):
    """A wrong input from outside: a flag, a path, a config, a checkpoint, a model file.

    Its message is a sentence that names the value, the limit and the way out. ``program.run`` prints it without a
    traceback and exits with status 2.
    """


def said(function: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[str]:
    """What a function says that checks its own arguments."""
    try:
        function(*arguments, **options)
    except ValueError as error:
        yield str(error)


def not_one_of(valid: Collection[str], value: str) -> str:
    """The end of a sentence about a value that is not valid; it names the nearest valid one."""
    near = difflib.get_close_matches(value, valid, n=1)
    return f"is not one of {', '.join(valid)}.{f' Did you mean {near[0]!r}?' if near else ''}"


def nearest(name: str, valid: Sequence[str], count: int = 3) -> list[str]:
    """Returns up to ``count`` of the dotted ``valid`` names closest to ``name``, best first.

    A name also counts as close if only its last part is: ``learning_rat`` finds ``outer.learning_rate``.
    """

    def similarity(candidate: str) -> float:
        pairs = ((name, candidate), (name.rsplit(".", 1)[-1], candidate.rsplit(".", 1)[-1]))
        whole, last = (difflib.SequenceMatcher(None, x, y).ratio() for x, y in pairs)
        return max(whole, last) + 0.01 * whole

    scored = sorted(((similarity(v), v) for v in valid), key=lambda pair: -pair[0])
    return [v for score, v in scored[:count] if score >= 0.6]
