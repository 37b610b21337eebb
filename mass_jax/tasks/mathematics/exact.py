r"""Equality of answers that needs no computer algebra: identical ones, numbers, words, numerals of a base.

What is decided here costs microseconds, and all of it is decided as the field does: percent signs do not count (50,
50 % and 0.5 are one answer where either side has the sign), and decimals agree to six places.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from mass_jax.tasks.base import Verdict

TOLERANCE = Fraction(1, 10**6)
"""Relative below 1, absolute above: 0.333333 is a third; integers must be equal."""

_LONGEST_NUMBER = 60
_DECIMAL = r"(?:\d+(?:\.\d*)?|\.\d+)"
_PLAIN = re.compile(
    rf"([-+]?)({_DECIMAL})(?:e([-+]?\d{{1,2}})|(?:\\times ?|\\cdot ?|\*|x)10\^\{{?([-+]?\d{{1,2}})\}}?)?", re.I | re.A
)
_FRACTION = re.compile(
    r"([-+]?)(?:(\d+)(?=\\frac)|(\d+) (?=\d+/))?"  # the integer of a mixed number
    rf"(?:\\frac\{{(-?{_DECIMAL})\}}\{{(-?{_DECIMAL})\}}|\\frac(\d)(\d)|(-?{_DECIMAL})/(-?{_DECIMAL}))",
    re.A,
)
_REPEATING = re.compile(r"([-+]?)(\d*)\.(\d*)\\(?:overline|bar)\{?(\d+)\}?", re.A)
_BASED = re.compile(r"(-?[0-9A-Fa-f]+)_\{?(\d{1,2})\}?", re.A)
_WORDS = re.compile(r"\\text ?\{([^{}\\]*)\}|\(?([A-Za-z])\)|([A-Za-z]{4,}(?: [A-Za-z]+)*)")
_NAMED = re.compile(r"((?:\\?[A-Za-z]+)(?:_\{?\w+\}?)?(?:\([A-Za-z]\))?)(?:=|\\in(?![a-z]) ?)(?!.*=)(.+)")


class Number(NamedTuple):
    """A number as it is written; ``percent`` says that a percent sign followed."""

    value: Fraction
    percent: bool


def number(text: str) -> Number | None:
    """Read an integer, decimal, fraction, mixed number, repeating decimal or power-of-ten notation in normal form."""
    percent = text.endswith("%")
    text = text.removesuffix("%")
    if len(text) > _LONGEST_NUMBER:
        return None
    if match := _PLAIN.fullmatch(text):
        sign, decimal, *exponents = match.groups()
        value = Fraction(decimal.rstrip(".")) * Fraction(10) ** int(next(filter(None, exponents), 0))
    elif match := _FRACTION.fullmatch(text):
        sign, *parts = match.groups()
        whole = next(filter(None, parts[:2]), "0")
        above, below = (Fraction(part) for part in parts[2:] if part)
        if below == 0:
            return None
        value = int(whole) + above / below
    elif match := _REPEATING.fullmatch(text):
        sign, whole, fixed, period = match.groups()
        tail = Fraction(int(period), 10 ** len(period) - 1)
        value = int(whole or 0) + (int(fixed or 0) + tail) / 10 ** len(fixed)
    else:
        return None
    return Number(-value if sign == "-" else value, percent)


def compare(reference: str, answer: str) -> Verdict | None:
    """Judge an answer in normal form, or None where only computer algebra can tell."""
    if not answer:
        return Verdict(False, "no answer")
    if not reference:
        return Verdict(False, "the reference has no answer")
    if reference == answer:
        return Verdict(True, "equal to the reference")
    reference, answer = unnamed(reference, answer)
    equal = _equal(reference, answer)
    if equal is None:
        return None
    return Verdict(equal, "equal to the reference" if equal else f"{answer[:80]} differs from {reference[:80]}")


def unnamed(reference: str, answer: str) -> tuple[str, str]:
    """Without ``x=`` where only one of the two has it, or both have the same."""
    left, right = _NAMED.fullmatch(reference), _NAMED.fullmatch(answer)
    if left and right and left[1] != right[1]:
        return reference, answer
    return left[2] if left else reference, right[2] if right else answer


def _equal(reference: str, answer: str) -> bool | None:
    if reference == answer:
        return True
    left, right = number(reference), number(answer)
    if left and right:
        return _equal_numbers(left, right)
    based = _BASED.fullmatch(reference), _BASED.fullmatch(answer)
    if based[0] and based[1]:
        return based[0].groups() == based[1].groups()
    words = _WORDS.fullmatch(reference), _WORDS.fullmatch(answer)
    if words[0] or (words[1] and words[1][1] is not None):
        return _spoken(reference) == _spoken(answer)
    return None


def _equal_numbers(left: Number, right: Number) -> bool:
    pairs = [(left.value, right.value)]
    if left.percent != right.percent:
        pairs.append((left.value / 100, right.value) if left.percent else (left.value, right.value / 100))
    return any(_close(*pair) for pair in pairs)


def _close(left: Fraction, right: Fraction) -> bool:
    if left.denominator == right.denominator == 1:
        return left == right
    return abs(left - right) <= TOLERANCE * min(Fraction(1), abs(left))


def _spoken(text: str) -> str:
    """Words without the box of letters around them, in lower case."""
    match = _WORDS.fullmatch(text)
    inside = next(filter(None, match.groups()), "") if match else text
    return " ".join(inside.casefold().replace(".", " ").strip("() ").split())
