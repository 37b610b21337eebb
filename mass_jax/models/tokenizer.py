"""A closed word vocabulary: texts are words separated by single spaces."""

from collections.abc import Iterable, Sequence

import numpy as np

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


class WordTokenizer:
    """Maps each word of a fixed list to one id. Id 0 pads; `bos_id` opens and `eos_id` ends a document."""

    def __init__(self, words: Iterable[str]):
        self.words = (PAD, BOS, EOS, *words)
        self._ids = {word: i for i, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            raise ValueError(f"the vocabulary has repeated words: {self.words}.")
        for word in self.words:
            if not isinstance(word, str) or word.split() != [word]:
                raise ValueError(f"the vocabulary has {word!r}: give texts without spaces.")
        self.pad_id, self.eos_id = 0, 2
        self.bos_id: int | None = 1
        self.stop_ids: tuple[int, ...] = (self.eos_id,)

    @property
    def vocab_size(self) -> int:
        """V, special tokens included."""
        return len(self.words)

    def encode(self, text: str) -> list[int]:
        """The ids of a text's words, without BOS or EOS; a word outside the vocabulary is a ValueError."""
        try:
            return [self._ids[word] for word in text.split()]
        except KeyError as error:
            word, known = error.args[0], self.words[3:]
            some = ", ".join(known[:8])
            raise ValueError(
                f"the word {word!r} is not in the vocabulary of {len(known)} words ({some}, ...): give words of it, "
                "with spaces between them."
            ) from None

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text up to the first EOS; padding and BOS are dropped."""
        words = []
        for i in ids:
            if i == self.eos_id:
                break
            if i not in (self.pad_id, self.bos_id):
                words.append(self.words[int(i)])
        return " ".join(words)
