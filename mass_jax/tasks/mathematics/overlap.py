"""How much of one text stands in another: words and the runs of them that two texts share."""

import re

_WORD = re.compile(r"[^\W\d_]+|\d+|[-+*/^=<>_]")


def words(text: str) -> list[str]:
    """Words, numerals and operators in lower case; punctuation, spaces and LaTeX's own signs are left out."""
    return _WORD.findall(text.casefold())


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    """All runs of ``length`` consecutive words; of a shorter text the whole of it."""
    sequence = words(text)
    return {tuple(sequence[i : i + length]) for i in range(max(1, len(sequence) - length + 1))} if sequence else set()
