"""The kinds of values that the fields of a config take. Types are strict: True is no 1, and 2.0 is no whole number."""

import functools
import inspect
from collections.abc import Collection
from typing import Annotated, Any, Protocol, TypeVar, get_type_hints

from mass_jax import extras
from mass_jax.errors import InputError, not_one_of

extras.require("study")

from pydantic import AfterValidator, AllowInfNan, ConfigDict, Field, TypeAdapter, ValidationError  # noqa: E402

FORBID = ConfigDict(extra="forbid")
"""Of every group of fields: one that it does not have is a mistake."""
FROZEN = ConfigDict(extra="forbid", frozen=True)
"""The same, of a group that is a class of pydantic's."""
MOST = 2**31 - 1
"""What an int32 holds."""
LARGEST = 3e38
"""What a float32 holds; NaN is refused with what is beyond."""

Count = Annotated[int, Field(strict=True, ge=1, le=MOST)]
Several = Annotated[int, Field(strict=True, ge=2, le=MOST)]
CountOrNone = Annotated[int, Field(strict=True, ge=0, le=MOST)]
"""A count, where 0 has a meaning."""
Seed = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True)]
Names = Annotated[tuple[Text, ...], Field(strict=True)]
Number = Annotated[float, Field(strict=True, ge=-LARGEST, le=LARGEST)]
Positive = Annotated[float, Field(strict=True, gt=0, le=LARGEST)]
Weight = Annotated[float, Field(strict=True, ge=0, le=LARGEST)]
"""A weight or a rate: 0 turns off what it is of."""
Gain = Annotated[float, Field(strict=True, ge=-1, le=1)]
"""A difference of two shares."""
Share = Annotated[float, Field(strict=True, gt=0, le=1)]
ShareOrNone = Annotated[float, Field(strict=True, ge=0, le=1)]
"""A share, where 0 has a meaning."""


def one_of(valid: Collection[str]) -> Any:
    """The type of a text that is one of ``valid``."""

    def check(value: str) -> str:
        if value not in valid:
            raise ValueError(not_one_of(valid, value))
        return value

    return AfterValidator(check)


def other_than(wrong: int, way_out: str) -> Any:
    """The type of a number that is not ``wrong``, with what to give instead."""

    def check(value: int) -> int:
        if value == wrong:
            raise ValueError(f"has no meaning: {way_out}.")
        return value

    return AfterValidator(check)


def is_of(hint: Any, value: object) -> bool:
    """Whether a value is of a type, strictly; NaN and infinity are no floats."""
    try:
        _adapter(hint).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


_hints = functools.cache(get_type_hints)


@functools.cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[hint, AllowInfNan(False)] if hint is float else hint)


def check(kind: type, given: object) -> None:
    """Looks whether something is of a dataclass, and each of its fields of the field's type, as Python does not.

    Raises:
      InputError: it is not.
    """
    if not isinstance(given, kind):
        raise InputError(f"{given!r} is not of the type {kind.__name__}: give one.")
    for name, hint in _hints(kind).items():
        value = getattr(given, name)
        if not is_of(hint, value):
            raise InputError(f"{kind.__name__}.{name} = {value!r} is not of the type {inspect.formatannotation(hint)}.")


class Named(Protocol):
    """What stands in a table of names."""

    @property
    def name(self) -> str:
        """Under which it stands there."""


Entry = TypeVar("Entry", bound=Named)


def enter(table: dict[str, Entry], kind: type[Entry], given: Entry, what: str) -> Entry:
    """Adds to a table of names what is of a dataclass, under its own name; returns it.

    Args:
      table: the names that there are.
      kind: the dataclass.
      given: the entry.
      what: it is, with its article, for the sentence.

    Raises:
      InputError: the name is taken, or a field has another type than it says.
    """
    check(kind, given)
    if table.setdefault(given.name, given) != given:
        raise InputError(f"there is {what} {given.name!r} already: give another name.")
    return given
