"""Edits of a text that remember where every character came from."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Lookup = Callable[[str], int | None]
"""Returns the id of a lower-case word in a vocabulary that is ordered by frequency, the commonest first, and None where
the vocabulary lacks it (`tokenizers.Tokenizer.token_to_id` of a BERT vocabulary fits)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Characters [start, end) of a text give way to others."""

    start: int
    end: int
    replacement: str
    sources: Sequence[int]
    """For each character of the replacement, the character of the text it stands for: in [start, end), in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedText:
    """A text after edits, and where it came from."""

    text: str
    positions: Sequence[int]
    """For each character, its place in the original; never decreasing."""
    num_characters: int
    """Length of the original."""

    @classmethod
    def unchanged(cls, text: str) -> "EditedText":
        """Begins with the original itself."""
        return cls(text=text, positions=range(len(text)), num_characters=len(text))

    def place(self, position: int) -> int:
        """Returns where in the original a position of this text lies; the end of this text is the original's end."""
        return self.positions[position] if position < len(self.text) else self.num_characters

    def apply(self, edits: Iterable[Edit]) -> "EditedText":
        """Makes edits that are in order and do not overlap; returns this very text where there is none."""
        parts: list[str] = []
        positions: list[int] = []
        done = 0
        for edit in edits:
            parts += (self.text[done : edit.start], edit.replacement)
            positions += self.positions[done : edit.start]
            positions += [self.positions[source] for source in edit.sources]
            done = edit.end
        if done == 0:
            return self
        parts.append(self.text[done:])
        positions += self.positions[done:]
        return EditedText(text="".join(parts), positions=positions, num_characters=self.num_characters)
