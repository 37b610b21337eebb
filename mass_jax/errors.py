"""The one family of exceptions that a person can put right, and how their sentences help.

They name what is nearest to a mistyped name, and the module of others that fails.
"""

import contextlib
import difflib
import traceback
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


def within(module: str, package: str) -> bool:
    """Whether a module is the package, or lies in it."""
    return module == package or module.startswith(f"{package}.")


def outside(module: str) -> bool:
    """Whether a module is none of the package's."""
    return not within(module, __name__.partition(".")[0])


@contextlib.contextmanager
def blamed(what: str, module: str) -> Iterator[None]:
    """Whatever is raised meanwhile is an InputError that says why and where, if the module is none of the package.

    Args:
      what: of the module is at work, as a config names it.
      module: where that was declared.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or not outside(module):
            raise
        raise InputError(f"{what} of the plugin {module}: {reason(error, module)}") from error


def reason(error: BaseException, module: str) -> str:
    """What an error says, and the last place of the module where it was met."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None and within(module, error.name):
        return f"{error}. Name modules that Python finds from here, such as 'my_folder.my_module'."
    met = list(traceback.walk_tb(error.__traceback__))
    own = [(frame, line) for frame, line in met if within(frame.f_globals.get("__name__", ""), module)]
    if isinstance(error, ValueError | ConnectionError):  # a sentence
        said = str(error)
    else:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        own = own or ([] if isinstance(error, SyntaxError) else met)  # that says by itself where
    places = [f" ({frame.f_code.co_filename}, line {line})" for frame, line in own]
    return f"{said.rstrip('.')}{''.join(places[-1:])}."
