"""What the command lines of all programs share: flags or words in, sentences out."""

import argparse
import contextlib
import errno
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NoReturn

from absl import app, flags, logging

from mass_jax.errors import InputError, not_one_of
from mass_jax.parallel import joining

flags.disclaim_key_flags()  # what is defined by a function of this module is its caller's
WAYS_OUT = {
    r"invalid literal for int\(\).*": "give a whole number.",
    r"could not convert string to float.*": "give a number.",
    r"\('Non-boolean argument.*": "give true or false.",
    r"Failed to parse .* as a ConfigDict.*": "set a field of this group, as in --config.group.field=value.",
}
"""What is wrong with a flag's value, as Python's and the flags' own readers put it, and what to give."""
DONE, LACKING, INTERRUPTED = 0, 1, 130
"""Exit statuses of a console script: all is done; something is not that was asked for; Ctrl-C. Wrong input: 2."""
HELP = ("help", "helpshort", "helpfull", "h", "?")


def run(
    main: Callable[[], None],
    before: Callable[[list[str]], None] = lambda argv: None,
    after: Callable[[], None] = lambda: None,
    more_help: Callable[[list[str]], str] = lambda argv: "",
) -> NoReturn:
    """Parses the flags, calls ``main()`` and exits.

    Every ``InputError`` of the flags or of ``main``, and every full disk, is printed as a sentence and ends with exit
    status 2, so that a launcher can tell it from a crash (1), which keeps its traceback. ``--help`` ends with 0.

    Args:
      main: the program.
      before: looks at the words of the command line before they are parsed.
      after: looks at the flags when they are.
      more_help: what ``--help`` shows beside the main's own flags.
    """

    def parse(argv: list[str]) -> list[str]:
        try:
            if any(word.lstrip("-") in HELP and word.startswith("-") for word in argv[1:]):
                print(
                    f"{sys.modules['__main__'].__doc__}\n{flags.FLAGS.main_module_help()}\n{more_help(argv)}".rstrip()
                )
                sys.exit(0)
            before(argv)
            words = flags.FLAGS(argv)[1:]
            if words:
                raise InputError(f"{' '.join(words)!r} is not a flag: write --name=value. --help shows the flags.")
            after()
        except (InputError, flags.Error) as error:
            refuse(error)
        return argv[:1]

    def sentences_only(_: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # the libraries' INFO lines would bury what a main says
        with sentences():
            main()

    app.run(sentences_only, flags_parser=parse)


class Parser(argparse.ArgumentParser):
    """Of a console script's words; what is wrong with them is an ``InputError``, as of flags."""

    def error(self, message: str) -> NoReturn:
        """Raises it."""
        raise InputError(f"{message}. {self.prog} --help shows the options.")


def script(main: Callable[[], int]) -> NoReturn:
    """Calls ``main()`` and exits with its status, or `INTERRUPTED` by Ctrl-C, or `LACKING` where nobody reads.

    What a person can put right is a sentence, as in `run`.
    """
    try:
        with sentences():
            sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(LACKING)


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Every ``InputError`` and every full disk meanwhile is printed as a sentence and ends with exit status 2."""
    try:
        yield
    except InputError as error:
        refuse(error)
    except OSError as error:
        if not is_of_a_full_disk(error):
            raise
        what = "A file" if error.filename is None else f"'{error.filename}'"
        way_out = "allow larger files (ulimit -f)" if error.errno == errno.EFBIG else "make room"
        refuse(InputError(f"{what} cannot be written ({error.strerror}): {way_out}, and start the same again."))


def is_of_a_full_disk(error: Exception) -> bool:
    """Whether it says that there is no room, or no more for this user or process."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def refuse(error: Exception) -> NoReturn:
    """Prints what a person can put right, and exits with status 2."""
    print(sentence(error), file=sys.stderr)
    joining.leave(2)


def sentence(error: Exception) -> str:
    """What an error says; where the flags' own words have no way out, with one."""
    said, cause = str(error), error.__context__
    if isinstance(error, flags.CantOpenFlagFileError) and isinstance(cause, OSError):
        return f"--flagfile={cause.filename} cannot be read ({cause.strerror}): give a file with a flag on each line."
    if isinstance(error, flags.UnrecognizedFlagError):
        return f"{said}. --help shows the flags."
    if isinstance(error, flags.IllegalFlagValueError):
        for pattern, way_out in WAYS_OUT.items():
            said = re.sub(pattern, way_out, said)
    return said


def define_numbers(name: str, default: Sequence[int], words: str, least: int = 1, most: int = 2**31 - 1) -> None:
    """Defines a flag of whole numbers with commas between them."""

    def sound(values: list[str] | None) -> bool:
        return bool(values) and all(value.isdecimal() and least <= int(value) <= most for value in values or ())

    flags.DEFINE_list(name, [str(value) for value in default], words)
    flags.register_validator(name, sound, f"give whole numbers from {least} to {most}, such as {least},{least + 2}")


def define_names(name: str, default: Sequence[str] | None, valid: Collection[str], words: str) -> None:
    """Defines a flag of some of the ``valid`` names with commas between them; None is for all."""

    def sound(values: list[str] | None) -> bool:
        for value in values or ():
            if value not in valid:
                raise flags.ValidationError(f"{value!r} {not_one_of(valid, value)}")
        return values is None or bool(values)

    flags.DEFINE_list(name, default, words)
    flags.register_validator(name, sound, f"give some of {', '.join(valid)}")
