"""The baseline that a detoxifier has to beat: a list of toxic words, each of which is taken out."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from protector_models.checkpoints.cards import CheckpointError

# Letters that are masked with signs, as in "s**t", belong to the word.
_WORD = re.compile(r"[\w*@$#]+(?:['’]\w+)?")
_BLANKS = re.compile(r"[ \t]{2,}")


def find_words(text: str) -> list[re.Match[str]]:
    """Finds the words of a text in order; letters masked with signs are part of a word."""
    return list(_WORD.finditer(text))


class ToxicWords:
    """A list of words in lower case."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(words)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads a list with one word a line.

        Raises:
            CheckpointError: the file cannot be read or is empty.
        """
        try:
            words = file.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{file}: no list of words: {type(error).__name__}") from error
        if not words:
            raise CheckpointError(f"{file}: expected one word a line, got an empty file")
        return cls(words)

    def delete(self, text: str) -> str:
        """Takes the listed words out, whatever their case; a text without any comes back as it was."""
        kept: list[str] = []
        end = 0
        for word in find_words(text):
            if word[0].lower() in self._words:
                kept.append(text[end : word.start()])
                end = word.end()
        return text if end == 0 else _BLANKS.sub(" ", "".join([*kept, text[end:]])).strip()
