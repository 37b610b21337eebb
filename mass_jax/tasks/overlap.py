"""How much of one text stands in another: words and the runs of them that two texts share."""

import re

COPY_RUN = 8
"""Consecutive words that two texts on one subject only share by copying."""
COPY_SHARE = 0.5
"""The share of such runs from which on a text counts as a copy. Where only the numbers differ it is below."""

_WORD = re.compile(r"[^\W\d_]+|\d+|[-+*/^=<>_]")


def words(text: str) -> list[str]:
    """Words, numerals and operators in lower case; punctuation, spaces and LaTeX's own signs are left out."""
    return _WORD.findall(text.casefold())


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    """All runs of ``length`` consecutive words; of a shorter text the whole of it."""
    sequence = words(text)
    return {tuple(sequence[i : i + length]) for i in range(max(1, len(sequence) - length + 1))} if sequence else set()


def copies(text: str, original: str) -> bool:
    """Whether a text repeats another one: all of its words, or half of their runs of eight."""
    own = runs(original, COPY_RUN)
    copied = own & runs(text, min(COPY_RUN, len(words(original))))
    return bool(own) and len(copied) >= COPY_SHARE * len(own)
