r"""What stands behind a number: units, which do not change its value, and words of magnitude, which do.

"18 dollars", ``18\text{ cm}^2`` and "18 km/h" are 18; "3 thousand", ``3\text{ thousand dollars}`` and "3 hundredths"
are 3000, 3000 and 0.03. Which unit it is does not count, as is the field's habit.
"""

import math
import re
from collections.abc import Sequence
from fractions import Fraction

from mass_jax.tasks.mathematics import exact

_MAGNITUDES = {
    "hundred": Fraction(100), "thousand": Fraction(10**3), "million": Fraction(10**6), "billion": Fraction(10**9),
    "trillion": Fraction(10**12), "dozen": Fraction(12), "tenth": Fraction(1, 10), "hundredth": Fraction(1, 100),
    "thousandth": Fraction(1, 1000), "millionth": Fraction(1, 10**6),
}  # fmt: skip
MAGNITUDE = rf"(?:{'|'.join(sorted(_MAGNITUDES, key=len, reverse=True))})s?(?![A-Za-z])"
"""One word of magnitude, in lower case."""

_OPERATORS = (
    "squared|cubed|factorial|plus|minus|over|divided|choose|modulo|mod|base|negative|not|and|or|because|since|"
    "sqrt|sin|cos|tan|log|exp"
)
"""Words that are not units; nor are two or three letters of a function's name."""
_SHORT = "mm|cm|km|kg|mg|ft|lbs?|oz|ml|mL|mph|kph|mins?|hrs?|am|pm|USD|sq|rad|deg"
_WORD = rf"(?!(?:{_OPERATORS})(?![A-Za-z])|{MAGNITUDE})[A-Za-z'$]{{3,}}\.?"
_POWER = r"(?:\s*\^\s*\{?-?[1-3]\}?)?"
_ONE = rf"(?:(?:{_SHORT})(?![A-Za-z])\.?|{_WORD}|[mgLslhJNWVAd](?![A-Za-z])|yd|mi|in){_POWER}"
_FURTHER = rf"(?:(?:\s*(?:/|\\cdot|\*|-)\s*|\s+per\s+|\s+)(?:{_ONE}|(?:a|an|of|to|the)(?![A-Za-z])))"
_RATE = r"(?:\s+an?\s+|\s*/\s*)(?:second|minute|hour|day|week|month|year|person)(?![A-Za-z])"
# A unit of one or two letters is one only where it is known; "3 xy" and "2x" are not measures.
_FIRST = rf"\s*(?:{_SHORT}|[mgsh](?=\s*/)|(?:[mgsh]|mi)\s*/\s*[a-z]+){_POWER}(?![A-Za-z])|\s+{_ONE}"
_UNIT = rf"(?:{_FIRST}|{_RATE}){_FURTHER}*\s*"
_NUMERAL = r"-?\s*\$?(?:[\d.,]+(?:\s*/\s*\d+)?|(?:\d+\s*)?\\frac\s*\{\d+\}\s*\{\d+\})\s*%?"
_PLAIN_MEASURE = re.compile(rf"({_NUMERAL}(?:[\s-]*{MAGNITUDE})*){_UNIT}", re.A)
# Behind an expression that ends in a bracket or in pi only words and well-known units are taken for units.
_EXPRESSION_MEASURE = re.compile(rf"([^A-Za-z]*(?:\\[a-z]+[^A-Za-z]*)*(?:[)}}]|\\pi)) +{_ONE}{_FURTHER}*\s*")
_UPRIGHT = rf"\\text\s*\{{(?![^{{}}]*(?<![A-Za-z])(?:{_OPERATORS})(?![A-Za-z]))[^{{}}\d]*\}}{_POWER}"
_TEXT_UNIT = re.compile(
    rf"(?<=[\d\w}})\]%])\s*(?:/?\s*{_UPRIGHT}(?:\s*(?:\\cdot|/)?\s*{_UPRIGHT})*|\\frac\s*\{{{_UPRIGHT}\}}\s*\{{{_UPRIGHT}\}})\s*$"
)
_ASIDE = re.compile(  # 18 (apples), 18 apples (3 x 6)
    rf"(?:(?<=[\d}})])\s*\((?!(?:[^()]*[ .])?{MAGNITUDE})[a-z][a-z .]+|"
    rf"(?<=[a-z]s)(?<!cos)(?<!abs)\s\((?![^()]*{MAGNITUDE})[^()]*)\)\s*$"
)
_SPELT = re.compile(rf"\\text\s*\{{([^{{}}]*(?<![A-Za-z]){MAGNITUDE}[^{{}}]*)\}}", re.I)
_WRITTEN = re.compile(rf"(?<![\w.}}/^])(\d+(?:\.\d+)?)((?:[\s-]*{MAGNITUDE})+)", re.I)
_MAGNIFIED = re.compile(rf"(.*[\d)}}%\w])[\s-]*({MAGNITUDE})(?:\s+of)?", re.I | re.S)
_LONGEST = 200
"""The most characters of a measure; a longer text is taken for something else at once."""


def value(text: str) -> str:
    """A measure's number: without its unit, and multiplied by its words of magnitude. Other texts as they are."""
    if len(text) > _LONGEST:
        return text
    text = _SPELT.sub(r" \1 ", text)
    text = _WRITTEN.sub(lambda m: _multiplied(m[1], re.findall(MAGNITUDE, m[2].lower())), text)
    text = _TEXT_UNIT.sub("", _ASIDE.sub("", text)).strip()
    for pattern in (_PLAIN_MEASURE, _EXPRESSION_MEASURE):
        if measure := pattern.fullmatch(text):
            text = measure[1].strip()
            break
    words: list[str] = []
    while magnified := _MAGNIFIED.fullmatch(text):
        text = magnified[1].strip()
        words.append(magnified[2].lower())
    return _multiplied(text, words) if words else text


def _multiplied(text: str, words: Sequence[str]) -> str:
    factor = math.prod((_MAGNITUDES[word.rstrip("s")] for word in words), start=Fraction(1))
    number = exact.number(text.removeprefix("$").replace(",", ""))
    if number is None:
        return rf"({text})\times {factor}" if factor > 1 else rf"\frac{{{text}}}{{{1 / factor}}}"
    return f"{number.value * factor}{'%' if number.percent else ''}"
