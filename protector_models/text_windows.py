"""Overlapping token windows over a text, so that a long text is read and not cut.

A text is tokenised once and covered by windows of equal size that share some tokens with their neighbours. Where there
are more windows than allowed, the first, the last and evenly spread ones between are kept and the cover says which
characters were read. Work is bounded: of a text far longer than all windows together only slices are tokenised.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

# WordPiece turns a word of more than 100 characters into one unknown token, and Unicode decomposition may triple the
# characters of a word before it is counted: a longer run is broken, so that text without spaces is read as well.
_MAX_WORD_CHARACTERS = 32
_LONG_RUN = re.compile(rf"\S{{{_MAX_WORD_CHARACTERS}}}(?=\S)")

# English has about 4 characters to a token. A slice of 4 a token fills its window in nearly every script; a text is
# tokenised whole up to twice that, because windows of rare long tokens would otherwise be dropped for nothing.
_SLICE_CHARACTERS_PER_TOKEN = 4
_WHOLE_CHARACTERS_PER_TOKEN = 8


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
    """Characters in some window; less than `num_characters` exactly if windows were left out."""


def cover_text(text: str, tokeniser: Tokeniser, size: WindowSize, *, max_windows: int) -> TextCover:
    """Covers a text with overlapping windows.

    Lone surrogates are read as question marks: no tokenizer takes them. Characters that the tokenizer drops, such as
    white space and control characters, count as read where nothing else was left out.

    Args:
        text: any string.
        tokeniser: tokenises without special tokens; its offsets refer to the text it was given.
        size: of the windows.
        max_windows: at most so many windows are kept, at least 1.
    """
    readable = text.encode("utf-8", "replace").decode("utf-8")
    if len(readable) > max_windows * size.num_tokens * _WHOLE_CHARACTERS_PER_TOKEN:
        return _cover_slices(readable, tokeniser, size, max_windows=max_windows)
    windows = _split(readable, tokeniser, size)
    if len(windows) <= max_windows:
        return TextCover(windows=windows, num_characters=len(text), num_characters_read=len(text))
    kept = [windows[index] for index in spread_evenly(len(windows), max_windows)]
    return _partial_cover(kept, len(text))


def spread_evenly(num_items: int, num_kept: int) -> list[int]:
    """Picks `num_kept` of `num_items` indices in order: the first, the last and evenly spread ones between."""
    if num_kept >= num_items:
        return list(range(num_items))
    if num_kept == 1:
        return [0]
    return [round(step * (num_items - 1) / (num_kept - 1)) for step in range(num_kept)]


def _cover_slices(text: str, tokeniser: Tokeniser, size: WindowSize, *, max_windows: int) -> TextCover:
    """Tokenises evenly spread slices only, one window each; head and tail are among them."""
    length = size.num_tokens * _SLICE_CHARACTERS_PER_TOKEN
    windows: list[TextWindow] = []
    for slot in range(max_windows):
        start = round(slot * (len(text) - length) / max(1, max_windows - 1))
        pieces = _split(text[start : start + length], tokeniser, size)
        # A slice of more than one window keeps the end that lies at the end of the text, if it is the last one.
        piece = pieces[-1] if slot == max_windows - 1 else pieces[0]
        windows.append(TextWindow(token_ids=piece.token_ids, start=start + piece.start, end=start + piece.end))
    return _partial_cover(windows, len(text))


def _partial_cover(windows: Sequence[TextWindow], num_characters: int) -> TextCover:
    num_read = 0
    reached = 0
    for window in windows:
        num_read += max(0, window.end - max(window.start, reached))
        reached = max(reached, window.end)
    return TextCover(
        windows=list(windows), num_characters=num_characters, num_characters_read=min(num_read, num_characters - 1)
    )


def _split(text: str, tokeniser: Tokeniser, size: WindowSize) -> list[TextWindow]:
    """Returns every window of a text that is short enough to be tokenised whole."""
    spaced, breaks = _break_long_runs(text)
    tokenised = tokeniser.encode(spaced, add_special_tokens=False)
    token_ids, offsets = tokenised.ids, tokenised.offsets
    if not token_ids:
        return [TextWindow(token_ids=[], start=0, end=len(text))]
    last_start = max(0, len(token_ids) - size.num_tokens)
    # The last window ends with the text: a few left-over tokens by themselves would be scored without context.
    starts = [*range(0, last_start, size.num_tokens - size.overlap), last_start]
    windows: list[TextWindow] = []
    for first in starts:
        last = min(first + size.num_tokens, len(token_ids)) - 1
        windows.append(
            TextWindow(
                token_ids=token_ids[first : last + 1],
                start=_undo_breaks(offsets[first][0], breaks),
                end=_undo_breaks(offsets[last][1], breaks),
            )
        )
    return windows


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
