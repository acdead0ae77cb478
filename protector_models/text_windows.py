"""Overlapping token windows over a text, so that a long text is read and not cut.

The text is read in its normal form (`normalisation`); windows and counts refer to the text as it was given.

A text is tokenised once and covered by windows of equal size that share some tokens with their neighbours. Where there
are more windows than allowed, the first, the last and evenly spread ones between are kept and the cover says which
characters were read. Work is bounded: of a text far longer than all windows together only slices are tokenised.

A character in a window is not read all the same if the model gets nothing of it: in the normal form it lies in an
unknown token, or the tokenizer drops it and no token holds it. What has a token there was read, such as mathematical,
circled or full-width letters. Of the others, the ones that carry words count as not read:

- Letters, numbers and marks (Unicode categories L, N, M), and symbols that stand for letters, such as Braille. In an
  unknown token all of them count; where the tokenizer drops a combining mark from a letter, that letter is read and the
  mark does not count, except marks that are letters themselves.
- Tag characters (U+E0000 to E007F) and supplementary variation selectors (U+E0100 to E01EF): invisible, always dropped,
  and able to carry a whole text.

All characters of a passage in a language that the model was not trained on count as not read (`languages`), and the
cover names that language.

White space, control and format characters, variation selectors, punctuation, emoji, keycaps and flags carry no words.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from protector_models.languages import LanguageIdentifier
from protector_models.normalisation import normalise

# WordPiece turns a word of more than 100 characters into one unknown token, and Unicode decomposition may triple the
# characters of a word before it is counted: a longer run is broken, so that text without spaces is read as well.
_MAX_WORD_CHARACTERS = 32
_LONG_RUN = re.compile(rf"\S{{{_MAX_WORD_CHARACTERS}}}(?=\S)")

# English has about 4 characters to a token. A slice of 4 a token fills its window in nearly every script; a text is
# tokenised whole up to twice that, because windows of rare long tokens would otherwise be dropped for nothing.
_SLICE_CHARACTERS_PER_TOKEN = 4
_WHOLE_CHARACTERS_PER_TOKEN = 8

_UNKNOWN_TOKEN = "[UNK]"  # noqa: S105
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


class TokenisedText(Protocol):
    """What a tokenizer returns (`tokenizers.Encoding` has it)."""

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        ...

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Characters [start, end) of each token in the text given."""
        ...


class Tokeniser(Protocol):
    """Turns text into tokens (`tokenizers.Tokenizer` fits)."""

    def encode(self, sequence: str, *, add_special_tokens: bool) -> TokenisedText:
        """Tokenises one text."""
        ...

    def token_to_id(self, token: str) -> int | None:
        """Returns the id of a token, None where the vocabulary lacks it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSize:
    """Size and overlap of windows, in tokens."""

    num_tokens: int
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.num_tokens:
            raise ValueError(f"overlap must be in [0, {self.num_tokens}), got {self.overlap}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextWindow:
    """One window of a text."""

    token_ids: list[int]
    start: int
    """First character read."""
    end: int
    """One past the last character read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCover:
    """The windows of one text, in the order of the text; never empty (an empty text has one empty window)."""

    windows: list[TextWindow]
    num_characters: int
    """Length of the text."""
    num_characters_read: int
    """Characters that the model got, or that carry no words; less than `num_characters` exactly if windows were left
    out or characters in them are not read."""
    languages: frozenset[str]
    """The languages of passages that count as not read for their language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """All windows of a text that is short enough to be tokenised whole."""

    windows: list[TextWindow]
    unread: list[int]
    """Positions not read, in order."""
    languages: frozenset[str]


def cover_text(
    text: str, tokeniser: Tokeniser, identifier: LanguageIdentifier, size: WindowSize, *, max_windows: int
) -> TextCover:
    """Covers a text with overlapping windows.

    Lone surrogates are read as question marks: no tokenizer takes them. Characters that carry no words, such as white
    space, control characters and emoji, count as read where no window was left out.

    Args:
        text: any string.
        tokeniser: tokenises without special tokens; its offsets refer to the text it was given.
        identifier: tells which passages are in a language that the model does not know.
        size: of the windows.
        max_windows: at most so many windows are kept, at least 1.
    """
    readable = text.encode("utf-8", "replace").decode("utf-8")
    if len(readable) > max_windows * size.num_tokens * _WHOLE_CHARACTERS_PER_TOKEN:
        return _cover_slices(readable, tokeniser, identifier, size, max_windows=max_windows)
    split = _split(readable, tokeniser, identifier, size)
    if len(split.windows) <= max_windows:
        return TextCover(
            windows=split.windows,
            num_characters=len(text),
            num_characters_read=len(text) - len(split.unread),
            languages=split.languages,
        )
    kept = [split.windows[index] for index in spread_evenly(len(split.windows), max_windows)]
    return _partial_cover(kept, split.unread, split.languages, len(text))


def spread_evenly(num_items: int, num_kept: int) -> list[int]:
    """Picks `num_kept` of `num_items` indices in order: the first, the last and evenly spread ones between."""
    if num_kept >= num_items:
        return list(range(num_items))
    if num_kept == 1:
        return [0]
    return [round(step * (num_items - 1) / (num_kept - 1)) for step in range(num_kept)]


def _cover_slices(
    text: str, tokeniser: Tokeniser, identifier: LanguageIdentifier, size: WindowSize, *, max_windows: int
) -> TextCover:
    """Tokenises evenly spread slices only, one window each; head and tail are among them."""
    length = size.num_tokens * _SLICE_CHARACTERS_PER_TOKEN
    windows: list[TextWindow] = []
    unread: set[int] = set()
    languages: set[str] = set()
    for slot in range(max_windows):
        start = round(slot * (len(text) - length) / max(1, max_windows - 1))
        split = _split(text[start : start + length], tokeniser, identifier, size)
        # A slice of more than one window keeps the end that lies at the end of the text, if it is the last one.
        piece = split.windows[-1] if slot == max_windows - 1 else split.windows[0]
        windows.append(TextWindow(token_ids=piece.token_ids, start=start + piece.start, end=start + piece.end))
        unread.update(start + position for position in split.unread)
        languages |= split.languages
    return _partial_cover(windows, sorted(unread), frozenset(languages), len(text))


def _partial_cover(
    windows: Sequence[TextWindow], unread: Sequence[int], languages: frozenset[str], num_characters: int
) -> TextCover:
    num_read = 0
    reached = 0
    for window in windows:
        start = max(window.start, reached)
        if start < window.end:
            num_read += window.end - start - (bisect_left(unread, window.end) - bisect_left(unread, start))
        reached = max(reached, window.end)
    return TextCover(
        windows=list(windows),
        num_characters=num_characters,
        num_characters_read=min(num_read, num_characters - 1),
        languages=languages,
    )


def _split(text: str, tokeniser: Tokeniser, identifier: LanguageIdentifier, size: WindowSize) -> _Split:
    normal = normalise(text, tokeniser.token_to_id)
    spaced, breaks = _break_long_runs(normal.text)
    tokenised = tokeniser.encode(spaced, add_special_tokens=False)
    token_ids, offsets = tokenised.ids, tokenised.offsets
    foreign = identifier.find_foreign(normal.text)
    found = {place for passage in foreign for place in range(normal.place(passage.start), normal.place(passage.end))}
    # Every ASCII character is in the vocabulary, so ordinary text is not looked at again.
    if not spaced.isascii():
        unknown_id = tokeniser.token_to_id(_UNKNOWN_TOKEN)
        unknown = set(_find_unread(spaced, token_ids, offsets, unknown_id))
        found |= {normal.place(_undo_breaks(position, breaks)) for position in unknown}
    unread = sorted(found)
    languages = frozenset(passage.language for passage in foreign)
    if not token_ids:
        return _Split(windows=[TextWindow(token_ids=[], start=0, end=len(text))], unread=unread, languages=languages)
    last_start = max(0, len(token_ids) - size.num_tokens)
    # The last window ends with the text: a few left-over tokens by themselves would be scored without context.
    starts = [*range(0, last_start, size.num_tokens - size.overlap), last_start]
    windows: list[TextWindow] = []
    for first in starts:
        last = min(first + size.num_tokens, len(token_ids)) - 1
        windows.append(
            TextWindow(
                token_ids=token_ids[first : last + 1],
                start=normal.place(_undo_breaks(offsets[first][0], breaks)),
                end=normal.place(_undo_breaks(offsets[last][1], breaks)),
            )
        )
    return _Split(windows=windows, unread=unread, languages=languages)


def _find_unread(
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


def _break_long_runs(text: str) -> tuple[str, list[int]]:
    """Puts a space into every run without one; returns the new text and where in it those spaces are, in order."""
    parts: list[str] = []
    breaks: list[int] = []
    done = 0
    for match in _LONG_RUN.finditer(text):
        parts.append(text[done : match.end()])
        breaks.append(match.end() + len(breaks))
        done = match.end()
    return " ".join([*parts, text[done:]]), breaks


def _undo_breaks(position: int, breaks: Sequence[int]) -> int:
    return position - bisect_left(breaks, position)
