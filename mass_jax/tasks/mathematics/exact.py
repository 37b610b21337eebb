r"""Equality of answers that needs no computer algebra: identical ones, numbers, words, numerals of a base.

What is decided here costs microseconds, and all of it is decided as the field does: percent signs do not count (50,
50 % and 0.5 are one answer where either side has the sign), decimals agree to six places, fractions exactly, and of
points and intervals the brackets must agree.
"""

import itertools
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from mass_jax.tasks.base import Verdict
from mass_jax.tasks.mathematics.equivalence import sides

TOLERANCE = Fraction(1, 10**6)
"""Of decimals, relative below 1, absolute above: 0.333333 is a third. Integers and fractions must be equal."""

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
_PLAIN_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_SENTENCE = re.compile(r"(?=.*[A-Za-z]{2})[A-Za-z' ,$.%:/\d-]*")
# Words that make of "Tom has 18 apples" something that is not 18: before the number, and behind it.
_UNSAID = "not no never nor neither n't or and plus minus times squared cubed over divided mod modulo base".split()
_UNSAID_BEFORE = (
    "more less fewer least most than half twice double triple square cube root power factor between of up to under "
    "above below ln log sin cos tan exp sqrt minus negative"
).split()
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
    equal = _all(_equal(reference, side) for side in sides(reference, answer))
    if equal is None:
        return None
    return Verdict(equal, "equal to the reference" if equal else f"{answer[:80]} differs from {reference[:80]}")


def unnamed(reference: str, answer: str) -> tuple[str, str]:
    """Without ``x=`` where only one of the two has it, or both have the same."""
    left, right = _NAMED.fullmatch(reference), _NAMED.fullmatch(answer)
    if left and right and left[1] != right[1]:
        return reference, answer
    if "=" not in reference and len(set(names := re.findall(r"(?:^|,) ?([A-Za-z])=", answer))) == 1 < len(names):
        return reference, re.sub(r"(^|,) ?[A-Za-z]=", r"\1", answer)
    return left[2] if left else reference, right[2] if right else answer


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """False where one is, else None where one is."""
    found = set(verdicts)
    return False if False in found else None if None in found else True


def _equal(reference: str, answer: str) -> bool | None:
    if reference == answer or not answer:  # "9*2=" and "(1,)": a side or an element that was never written
        return reference == answer
    left, right = number(reference), number(answer)
    if left and not right:
        right = _abbreviated(answer) or _told(answer)
        if right is None and _PLAIN_WORD.search(answer):
            return False
    if left and right:
        return _equal_numbers(left, right, "." in reference + answer)
    based = _BASED.fullmatch(reference), _BASED.fullmatch(answer)
    if based[0] and based[1]:
        return based[0].groups() == based[1].groups()
    words = _WORDS.fullmatch(reference), _WORDS.fullmatch(answer)
    if words[0] or (words[1] and words[1][1] is not None):
        return _spoken(reference) == _spoken(answer)
    return _equal_lists(reference, answer)


def _abbreviated(text: str) -> Number | None:
    """``145k``: thousands, where a number is asked for. Elsewhere k is a variable."""
    found = number(text[:-1].rstrip()) if text.endswith(("k", "K")) else None
    return found and found._replace(value=1000 * found.value)


def _told(text: str) -> Number | None:
    """The number of a sentence that has one and says nothing else about it, such as "Tom has 18 apples"."""
    if not _SENTENCE.fullmatch(text):
        return None
    text = re.sub(r"(?<=[A-Za-z]{2})-(?=\d)", " -", text)  # a sign, whose space the normal form has not
    words = text.casefold().replace(",", " ").replace("$", "").replace("n't", " not").split()
    places = [i for i, word in enumerate(words) if any(map(str.isdigit, word))]
    if len(places) != 1 or places[0] < 2:
        return None
    before, after = words[: places[0]], words[places[0] + 1 :]
    if set(words) & set(_UNSAID) or set(before) & set(_UNSAID_BEFORE):
        return None
    if any(len(word) == 1 and word != "a" for word in before + after):
        return None
    return number(words[places[0]].rstrip("."))


def _equal_lists(reference: str, answer: str) -> bool | None:
    """Points, intervals and lists, element by element; those without brackets, or in braces, are sets."""
    left, right = _listed(reference), _listed(answer)
    if len(left.elements) == len(right.elements) == 1:
        return None
    if left.ends and right.ends and left.ends != right.ends:
        return None if "\\" in left.ends + right.ends else False
    if left.ends == right.ends and left.ends not in ("", r"\{\}"):
        if len(left.elements) != len(right.elements):
            return False
        return _all(map(_equal, left.elements, right.elements))
    numbers = [list(map(number, each.elements)) for each in (left, right)]
    if left.ends in ("", r"\{\}") and right.ends in ("", r"\{\}") and None not in numbers[0] + numbers[1]:
        return all(
            any(_equal_numbers(one, other, "." in reference + answer) for other in others if one and other)
            for mine, others in (numbers, numbers[::-1])
            for one in mine
        )
    return None


class _List(NamedTuple):
    """``ends`` are its two brackets, or an empty string."""

    ends: str
    elements: list[str]


def _listed(text: str) -> _List:
    """The elements between the commas that stand in no bracket but the outermost. One element is no list."""
    ends = ""
    if match := re.fullmatch(r"(\(|\[|\\\{)(.*)(\)|\]|\\\})", text, re.S):
        depths = _depths(match[2])
        if min(depths, default=0) >= 0:
            ends, text = match[1] + match[3], match[2]
    elements, start = [], 0
    for i, depth in enumerate(_depths(text)):
        if depth == 0 and text[i] == ",":
            elements.append(text[start:i].strip())
            start = i + 1
    return _List(ends, [*elements, text[start:].strip()])


def _depths(text: str) -> list[int]:
    return list(itertools.accumulate((c in "([{") - (c in ")]}") for c in text))


def _equal_numbers(left: Number, right: Number, rounded: bool) -> bool:
    """Exactly equal, or, where one is written as a decimal, within the tolerance."""
    pairs = [(left.value, right.value)]
    if left.percent != right.percent:
        pairs.append((left.value / 100, right.value) if left.percent else (left.value, right.value / 100))
    return any(one == other or (rounded and _close(one, other)) for one, other in pairs)


def _close(left: Fraction, right: Fraction) -> bool:
    if left.denominator == right.denominator == 1:
        return False
    return abs(left - right) <= TOLERANCE * min(Fraction(1), abs(left))


def _spoken(text: str) -> str:
    """Words without the box of letters around them, in lower case."""
    match = _WORDS.fullmatch(text)
    inside = next(filter(None, match.groups()), "") if match else text
    return " ".join(inside.casefold().replace(".", " ").strip("() ").split())
