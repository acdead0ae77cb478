"""Overlapping token windows over a text, so that a long text is read and not cut.

The text is read in its normal form (`normalisation`); windows and counts refer to the text as it was given.

A text is tokenised once and covered by windows of equal size that share some tokens with their neighbours. Where there
are more windows than allowed, the first, the last and evenly spread ones between are kept and the cover says which
characters were read. Work is bounded: of a text far longer than all windows together only slices are tokenised.

Characters in a window may still not be read: those that `unread_characters` finds, and all of a passage in a language
that the model was not trained on (`languages`), which the cover names.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from protector_models.languages import LanguageIdentifier
from protector_models.moderation.spreading import spread_evenly
from protector_models.normalisation import normalise
from protector_models.unread_characters import find_unread

# WordPiece turns a word of more than 100 characters into one unknown token, and Unicode decomposition may triple the
# characters of a word before it is counted: a longer run is broken, so that text without spaces is read as well.
_MAX_WORD_CHARACTERS = 32
_LONG_RUN = re.compile(rf"\S{{{_MAX_WORD_CHARACTERS}}}(?=\S)")

# English has about 4 characters to a token. A slice of 4 a token fills its window in nearly every script; a text is
# tokenised whole up to twice that, because windows of rare long tokens would otherwise be dropped for nothing.
_SLICE_CHARACTERS_PER_TOKEN = 4
_WHOLE_CHARACTERS_PER_TOKEN = 8

_UNKNOWN_TOKEN = "[UNK]"  # noqa: S105


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
class _Tokens:
    """The tokens of a text, and what of it they leave out."""

    ids: list[int]
    spans: list[tuple[int, int]]
    """Characters [start, end) of each token in the text."""
    unread: list[int]
    """Positions not read, in order."""
    languages: frozenset[str]

    def cut(self, first: int, end: int) -> TextWindow:
        """Makes a window of the tokens [first, end)."""
        return TextWindow(token_ids=self.ids[first:end], start=self.spans[first][0], end=self.spans[end - 1][1])


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
    tokens = _tokenise(readable, tokeniser, identifier)
    windows = [tokens.cut(first, end) for first, end in spread_windows(len(tokens.ids), size)]
    if len(windows) <= max_windows:
        return TextCover(
            windows=windows or [TextWindow(token_ids=[], start=0, end=len(text))],
            num_characters=len(text),
            num_characters_read=len(text) - len(tokens.unread),
            languages=tokens.languages,
        )
    kept = [windows[index] for index in spread_evenly(len(windows), max_windows)]
    return _partial_cover(kept, tokens.unread, tokens.languages, len(text))


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
        tokens = _tokenise(text[start : start + length], tokeniser, identifier)
        unread.update(start + position for position in tokens.unread)
        languages |= tokens.languages
        if not tokens.ids:
            windows.append(TextWindow(token_ids=[], start=start, end=start + length))
            continue
        # A slice of more than one window keeps its head; the last one keeps the end of the text.
        num_kept = min(size.num_tokens, len(tokens.ids))
        first = len(tokens.ids) - num_kept if slot == max_windows - 1 else 0
        piece = tokens.cut(first, first + num_kept)
        windows.append(TextWindow(token_ids=piece.token_ids, start=start + piece.start, end=start + piece.end))
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


def _tokenise(text: str, tokeniser: Tokeniser, identifier: LanguageIdentifier) -> _Tokens:
    normal = normalise(text, tokeniser.token_to_id)
    spaced, breaks = _break_long_runs(normal.text)
    tokenised = tokeniser.encode(spaced, add_special_tokens=False)
    token_ids, offsets = tokenised.ids, tokenised.offsets
    foreign = identifier.find_foreign(normal.text)
    found = {place for passage in foreign for place in range(normal.place(passage.start), normal.place(passage.end))}
    # Every ASCII character is in the vocabulary, so ordinary text is not looked at again.
    if not spaced.isascii():
        unknown_id = tokeniser.token_to_id(_UNKNOWN_TOKEN)
        unknown = set(find_unread(spaced, token_ids, offsets, unknown_id))
        found |= {normal.place(_undo_breaks(position, breaks)) for position in unknown}
    return _Tokens(
        ids=token_ids,
        spans=[
            (normal.place(_undo_breaks(start, breaks)), normal.place(_undo_breaks(end, breaks)))
            for start, end in offsets
        ],
        unread=sorted(found),
        languages=frozenset(passage.language for passage in foreign),
    )


def spread_windows(num_tokens: int, size: WindowSize) -> Iterator[tuple[int, int]]:
    """Yields [first, end) of the fewest windows that cover some tokens, all of one length but the last; none for none.

    Of one length, and no longer than they have to be: a full window and a few left-over tokens would cost more, and
    those few would be scored without context.
    """
    if num_tokens == 0:
        return
    stride = size.num_tokens - size.overlap
    num_windows = max(1, -(-(num_tokens - size.overlap) // stride))
    length = -(-(num_tokens + (num_windows - 1) * size.overlap) // num_windows)
    for index in range(num_windows):
        first = index * (length - size.overlap)
        yield first, min(first + length, num_tokens)


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
