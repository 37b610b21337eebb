"""The letter that an answer names, or why there is none.

A letter counts where an answer begins with it (``B``, ``(B)``, ``B. the mitochondria``), or names it as the answer
(``The answer is B``). Letters that stand elsewhere, as in "vitamin C" or "option A is wrong", do not: what an answer
means is not guessed.
"""

import re
from typing import NamedTuple

LONGEST = 20_000
"""Characters that are read."""
SHOWN = 60
"""Characters that a reason shows."""
_MARKS = re.compile(r"\\(?:boxed|text|mathrm|mathbf)\b|[*_`$\"(){}\[\]]+")
"""What may stand around a letter; each becomes a space."""
# "A" and "I" are words too: before one in lower case they are letters only where that joins or explains.
_LETTER = r"(?<!\w)((?:[B-HJ-Z]|[AI](?! (?!and\b|or\b|because\b|since\b|is\b)[a-z]))(?!\w|'\w))"
_LISTED = rf"{_LETTER}(?: ?(?:,|/|&|and\b|or\b) ?{_LETTER})?"
_LEADING = re.compile(rf"\s?{_LISTED}")
_NAMED = re.compile(rf"(?i:\banswers?\b) ?(?i:is\b|are\b|would be\b|should be\b)? ?:?\s?(?i:option |choice )?{_LISTED}")
_ALONE = re.compile(r"\W*([A-Za-z])\W*")


class Letter(NamedTuple):
    """A letter, or an empty text and the reason."""

    letter: str
    reason: str = ""


def read(text: str, letters: str) -> Letter:
    """The letter that a model chose. Never raises.

    Args:
      text: what it wrote.
      letters: those of the choices.
    """
    text = text[:LONGEST]
    plain = re.sub(r"\s*\n\s*", "\n", re.sub(r"[^\S\n]+", " ", _MARKS.sub(" ", text)))
    if alone := _ALONE.fullmatch(text):
        named = {alone[1].upper()}
    else:
        leading = _LEADING.match(plain)
        found = [*([leading] if leading else []), *_NAMED.finditer(plain)]
        named = {letter for each in found for letter in each.groups() if letter}
    among = f"{letters[0]} to {letters[-1]}"
    if not named:
        shown = text.strip() if len(text.strip()) <= SHOWN else f"{text.strip()[:SHOWN]}..."
        return Letter("", f"no letter: expected one of {among}, read {shown!r}")
    if len(named) > 1:
        return Letter("", f"two letters or more: {', '.join(sorted(named))}")
    (letter,) = named
    if letter not in letters:
        return Letter("", f"{letter} is not among the choices {among}")
    return Letter(letter)
