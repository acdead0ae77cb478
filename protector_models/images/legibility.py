"""The legibility of text that was found in a picture: the models know Latin and Chinese letters alone.

What they make of another script is debris: letters that look alike, with little confidence, or none at all. A picture
of which much is such has not been read.

The numbers were chosen on pictures drawn for it (November 2026): twelve languages in Latin and Chinese letters, code
and formulas, in letters of 11 to 72 pixels, some blurred, turned, of low contrast or badly compressed; 14 scripts that
the models do not know; and patterns without text. Of 88 pictures in known letters 3 were not understood, all of small
blurred letters that had been misread; of 60 in unknown scripts 51, not Armenian, which looks like Latin to the models,
and not four short words and a line that was not even found; of 30 patterns none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_LEGIBLE = 0.85
"""Legibility from which on a piece counts as understood: known lines had 0.83 and more, nearly all 0.91 and more;
unknown ones up to 0.92, and mostly less than this."""
_LEGIBLE_IF_MIXED = 0.95
"""The same where the words are mixed: Cyrillic had up to 0.92, and names such as `getItem` are read with more."""
_MIXED = 0.25
"""Share of mixed words from which on a piece is: of Polish and Spanish a fifth is, where ó is read as 6."""
_MOST = 0.4
"""Share of the text, by length, from which on what is not understood makes a picture unread: the least among pictures
of unknown scripts was 0.66; of code and formulas up to a third is not understood."""
_LEAST_LENGTH = 2.5
"""Length of what is not understood, in heights of its line, below which it may be a drawing: a word of five letters.
Shapes that were taken for text had up to 2.3."""
_CERTAIN = 0.6
"""What the finder gives a piece that is text: nearly all text had more."""
_CERTAIN_IF_BLANK = 0.75
"""The same where next to nothing was recognised: stripes had up to 0.70, Japanese and Korean 0.81 and more."""
_BLANK = 0.3
_LEAST_COVERAGE = 0.4
"""Share of a piece's length that its letters take: those of known scripts took 0.55 and more. Of Japanese a few Chinese
letters are read with confidence, and the kana between them not at all."""
_FIRST_SQUARE_LETTER = "\u2e80"
"""Letters from here on are as wide as high, those before it half as wide."""
_DIGIT_INSIDE = re.compile(r"[^\W\d_]\d[^\W\d_]")
_GREEK_OR_CYRILLIC = re.compile("[\u0370-\u04ff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundText:
    """A piece of text in a picture, as it was found and recognised."""

    text: str
    """Empty where nothing was recognised."""
    confidence: float
    """Of the recogniser, in [0, 1]."""
    certainty: float
    """Of the finder that there is text at all, in [0, 1]."""
    length: float
    """In heights of the line."""

    @property
    def is_legible(self) -> bool:
        """What was recognised is likely what stands there."""
        letters = sum(1.0 if letter >= _FIRST_SQUARE_LETTER else 0.5 for letter in self.text)
        legibility = self.confidence * min(1.0, letters / (self.length * _LEAST_COVERAGE))
        return legibility >= (_LEGIBLE_IF_MIXED if _share_of_mixed(self.text) >= _MIXED else _LEGIBLE)

    @property
    def is_certain(self) -> bool:
        """There is text, legible or not, rather than a pattern."""
        return self.certainty >= (_CERTAIN_IF_BLANK if self.confidence < _BLANK else _CERTAIN)


def is_understood(pieces: Sequence[FoundText]) -> bool:
    """Tells whether what was found in a picture was read, or much of it only seen; a picture without text was read."""
    understood = sum(piece.length for piece in pieces if piece.is_legible)
    seen = sum(piece.length for piece in pieces if not piece.is_legible and piece.is_certain)
    return seen < _LEAST_LENGTH or seen < _MOST * (seen + understood)


def _share_of_mixed(text: str) -> float:
    words = [word for word in text.split() if len(word) > 1]
    return sum(map(_is_mixed, words)) / len(words) if words else 0.0


def _is_mixed(word: str) -> bool:
    """Tells whether a word is as small Cyrillic letters look to a reader of Latin: BTopoN, Y6NTb."""
    return (
        any(left.islower() and right.isupper() for left, right in pairwise(word))
        or _DIGIT_INSIDE.search(word) is not None
        or _GREEK_OR_CYRILLIC.search(word) is not None
    )
