"""Characters of a tokenised text that the model gets nothing of.

A character that stands in a window is not read all the same if, in the normal form, it lies in an unknown token, or the
tokenizer drops it and no token holds it. What has a token there was read, such as mathematical, circled or full-width
letters. Of the others, the ones that carry words count as not read:

- Letters, numbers and marks (Unicode categories L, N, M), and symbols that stand for letters, such as Braille. In an
  unknown token all of them count; where the tokenizer drops a combining mark from a letter, that letter is read and the
  mark does not count, except marks that are letters themselves.
- Tag characters (U+E0000 to E007F) and supplementary variation selectors (U+E0100 to E01EF): invisible, always dropped,
  and able to carry a whole text.

White space, control and format characters, variation selectors, punctuation, emoji, keycaps and flags carry no words.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

# Dropped wherever they stand, also in the middle of a token's characters: combining Latin letters, tags, and variation
# selectors beyond the first sixteen.
_ALWAYS_DROPPED = re.compile("[\u0363-\u036f\u1dd3-\u1df4\U000e0000-\U000e007f\U000e0100-\U000e01ef]")
# Sequences of letters, digits or tags that make one picture: keycaps, the flags of three parts of Great Britain, and
# one flag of two regional indicators by itself (a longer run may spell words).
_PICTURE = re.compile(
    "[0-9]\ufe0f?\u20e3"
    "|\U0001f3f4\U000e0067\U000e0062"
    "(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074|\U000e0077\U000e006c\U000e0073)\U000e007f"
    "|(?<![\U0001f1e6-\U0001f1ff])[\U0001f1e6-\U0001f1ff]{2}(?![\U0001f1e6-\U0001f1ff])"
)
_SYMBOL_OF_WORDS = re.compile(
    " LETTER |^BRAILLE PATTERN DOTS|^(?:KANGXI|CJK) RADICAL|^(?:CIRCLED|PARENTHESIZED) (?:KATAKANA|HANGUL|IDEOGRAPH)"
)


def find_unread(
    text: str, token_ids: Sequence[int], offsets: Sequence[tuple[int, int]], unknown_id: int | None
) -> Iterator[int]:
    """Yields the positions of characters that carry words and of which no token tells anything; may repeat some."""
    pictures = {position for match in _PICTURE.finditer(text) for position in range(*match.span())}
    for match in _ALWAYS_DROPPED.finditer(text):
        if match.start() not in pictures:
            yield match.start()
    reached = 0
    for token_id, (start, end) in zip(token_ids, offsets, strict=True):
        if start > reached:
            yield from _find_words(text, reached, start, pictures, is_dropped=True)
        if token_id == unknown_id:
            yield from _find_words(text, start, end, pictures, is_dropped=False)
        reached = max(reached, end)
    yield from _find_words(text, reached, len(text), pictures, is_dropped=True)


def _find_words(text: str, start: int, end: int, pictures: set[int], *, is_dropped: bool) -> Iterator[int]:
    # An ASCII stretch is white space, control characters or the unknown token's own name.
    if not text[start:end].isascii():
        for position in range(start, end):
            if _carries_words(text[position], is_dropped=is_dropped) and position not in pictures:
                yield position


@lru_cache(maxsize=4096)
def _carries_words(character: str, *, is_dropped: bool) -> bool:
    category = unicodedata.category(character)
    if category[0] == "M":
        return not is_dropped and not "\ufe00" <= character <= "\ufe0f"
    if category == "So":
        return _SYMBOL_OF_WORDS.search(unicodedata.name(character, "")) is not None
    return category[0] in "LN"
