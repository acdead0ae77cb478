"""Texts to measure speed on: words of a tokenizer's vocabulary, so that each is exactly as long as it should be."""

import json
import random
from pathlib import Path

_FREQUENT_WORDS = ("the", "of", "and", "to", "in", "is", "that", "for", "you", "with", "this", "are")
_FREQUENT_SHARE = 0.3


class WordTexts:
    """Draws texts; the same seed gives the same ones.

    Three words of ten are the most frequent ones of English, as in prose, and the others come from the vocabulary: in a
    list of rare words alone every passage would have its language classified, which prose has not.
    """

    def __init__(self, tokenizer_file: Path, *, seed: int) -> None:
        vocabulary = json.loads(tokenizer_file.read_text(encoding="utf-8"))["model"]["vocab"]
        # Continuations begin with ##; a whole word of the vocabulary is one token.
        self._words: list[str] = sorted(
            word for word in vocabulary if word.isascii() and word.isalpha() and word.islower()
        )
        self._random = random.Random(seed)

    def draw(self, num_words: int) -> list[str]:
        """Return so many words, each of them one token."""
        return [self._draw_word() for _ in range(num_words)]

    def _draw_word(self) -> str:
        return self._random.choice(_FREQUENT_WORDS if self._random.random() < _FREQUENT_SHARE else self._words)
