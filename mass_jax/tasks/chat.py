"""Chats as prompts make them, and untrusted texts in them."""

import re
from collections.abc import Callable, Sequence

Chat = Callable[[list[dict[str, str]]], str]
"""Renders messages (``role`` and ``content``) as one text that ends where the answer begins: a chat template."""


def said(role: str, content: str) -> dict[str, str]:
    """A message."""
    return {"role": role, "content": content}


def without_special_tokens(text: str, special_tokens: Sequence[str]) -> str:
    """``text`` without any of the strings that a tokenizer would read as more than text, such as ``<|im_end|>``."""
    if not special_tokens:
        return text
    pattern = re.compile("|".join(re.escape(token) for token in sorted(special_tokens, key=len, reverse=True) if token))
    before = None
    while text != before:  # what is removed may have stood inside of another one
        before, text = text, pattern.sub("", text)
    return text
