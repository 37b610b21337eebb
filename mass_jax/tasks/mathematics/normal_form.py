r"""One way to write an answer: ASCII LaTeX without what does not change its value.

Removed are wrappers, spacing commands, units after a number, currency signs, degrees and thousands separators, as is
the field's habit: "$18", "18 dollars" and ``18\text{ dollars}`` are one answer.
"""

import re
import unicodedata

_SYMBOLS = {
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2010": "-", "\u2011": "-", "\u00d7": r"\times ",
    "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u2219": r"\cdot ", "\u00f7": "/", "\u2044": "/", "\u2215": "/",
    "\u03c0": r"\pi ", "\u03b8": r"\theta ", "\u03b1": r"\alpha ", "\u03b2": r"\beta ", "\u221a": r"\sqrt ",
    "\u221e": r"\infty ", "\u2264": r"\le ", "\u2265": r"\ge ", "\u2260": r"\ne ", "\u2248": r"\approx ",
    "\u00b1": r"\pm ", "\u222a": r"\cup ", "\u2229": r"\cap ", "\u2208": r"\in ", "\u2205": r"\emptyset ",
    "\u00b0": r"^\circ ", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u20ac": "$", "\u00a3": "$", "\u00a5": "$",
    "\u20b9": "$", "\u00b2": "^2", "\u00b3": "^3",
}  # fmt: skip
_GROUPED = r"(?<![\d.,_^])(\d{1,3})((?:%s\d{3})+)(?![\d,])"
_COMMA_GROUPS, _SPACE_GROUPS = re.compile(_GROUPED % ","), re.compile(_GROUPED % " ")
_SHORT_UNIT = "mm|cm|km|kg|mg|ft|lbs?|oz|ml|mL|mph|mins?|hrs?|am|pm|USD"
_UNIT = rf"(?:{_SHORT_UNIT}|m|in|yd|mi|g|L|s|h|km/h|m/s|[A-Za-z']{{3,}})"
_SUFFIX = r"(?:\s*\^\s*\{?[23]\}?)?\s*"
_TEXT_UNIT = re.compile(rf"(?<=[\d\w}})\]%])\s*\\text\s*\{{[^{{}}\d]*\}}{_SUFFIX}$")
_NUMERAL = r"-?\s*\$?(?:[\d.,]+(?:\s*/\s*\d+)?|(?:\d+\s*)?\\frac\s*\{\d+\}\s*\{\d+\})\s*%?"
# A unit of one or two letters is one only where it is known; "3 xy" and "2x" are not measures.
_PLAIN_UNIT = re.compile(rf"({_NUMERAL})(?:\s*(?:{_SHORT_UNIT})|\s+{_UNIT}(?:[\s/.-]+[A-Za-z']+)*){_SUFFIX}")
_WRAPPERS = (
    ("**", "**"),
    ("__", "__"),
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("`", "`"),
    ('"', '"'),
)
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\\(?:!|,(?=\d{3}(?!\d)))", ""),
        (r"(?<!\\)\\(?:[,;:> ]|q?quad(?![a-zA-Z]))|~", " "),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\s*", ""),
        (r"\\(?:displaystyle|textstyle|limits|rm)(?![a-zA-Z])", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(?:leq|geq|neq)(?![a-zA-Z])", lambda m: m[0][:-1]),
        (r"\\(?:lbrace|rbrace)(?![a-zA-Z])", lambda m: r"\{" if "l" in m[0] else r"\}"),
        (r"\\(?:mathrm|textrm|textnormal|textbf|textit|mbox)(?![a-zA-Z])", r"\\text"),
        (r"\\text\s*\{\s*(?:and|or|,)\s*\}|(?<=[\d})])\s+(?:and|or)\s+(?=[\d({\\$-])", ", "),
        (r"\\text\s*\{([^{}\\]*\d[^{}\\]*)\}", r"\1"),
        (r"\{\s*,\s*\}(?=\d{3}(?!\d))", ""),
        (r"\\?%|\s*\\text\s*\{\s*(?:percent|percentage)\s*\}|\s*\bper\s?cent(?:age)?\b", "%"),
        (r"\\\$", "$"),
        (r"(?<=\$)\s+(?=[\d.])|(?<=-)\s*\$\s*|\$(?=\s*-?[\d.\\])|(?<=[\d}])\s*\$", ""),
        (r"\*\*\s*(\w+)", r"^{\1}"),
        (r"(?<![a-zA-Z\\])(pi|sqrt|infinity|infty)(?![a-zA-Z])", lambda m: "\\" + m[1].replace("inity", "ty")),
        (r"\\(?:sqrt|frac)\s+(?=[\w({])", lambda m: m[0].rstrip()),
        (r"\\sqrt(?:\(([^()]*)\)|(\d+))", lambda m: rf"\sqrt{{{m[1] or m[2]}}}"),
        (r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?\s*$|\\degree\s*$|\s+degrees?(?:\s+(?:Celsius|Fahrenheit))?\s*$", ""),
        (r"^(?:\\approx|approximately|about|exactly|only|is|=)\s*(?=\S)", ""),
    )
)


def to_ascii(text: str) -> str:
    """Digits of any script, operators, Greek letters and fractions of Unicode, as LaTeX would have them."""
    return text if text.isascii() else "".join(map(_to_ascii, text))


def _to_ascii(character: str) -> str:
    if character.isascii():
        return character
    if character in _SYMBOLS:
        return _SYMBOLS[character]
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    folded = unicodedata.normalize("NFKC", character)
    if "\u2044" in folded:  # one half in one character; after an integer it is a mixed number
        return " " + folded.replace("\u2044", "/")
    return "" if unicodedata.category(character) in ("Cf", "Mn") else folded


def normal_form(answer: str) -> str:
    """The answer without units, currency, wrappers, separators and superfluous spaces; never raises."""
    text = _unwrap(to_ascii(answer))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _unwrap(text)
    if not any(bracket in text for bracket in "([{"):  # (1,234) is a point, 1,234 a number
        text = _COMMA_GROUPS.sub(lambda m: m[1] + m[2].replace(",", ""), text)
    text = _SPACE_GROUPS.sub(lambda m: m[1] + m[2].replace(" ", ""), text)
    text = _TEXT_UNIT.sub("", text)
    if measure := _PLAIN_UNIT.fullmatch(text):
        text = measure[1].strip()
    return re.sub(r"\s*([^\w\s])\s*", r"\1", " ".join(text.split()))


def _unwrap(text: str) -> str:
    """Without the signs around the whole answer, and without the full stop after it."""
    before = None
    while text != before:
        before = text
        text = text.strip().rstrip(".,;:").strip()
        for opening, closing in _WRAPPERS:
            inside = text[len(opening) : len(text) - len(closing)]
            if text.startswith(opening) and text.endswith(closing) and inside and closing not in inside:
                text = inside
    return text
