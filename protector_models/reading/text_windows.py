"""Token windows over a text, so that a long text is read and not cut.

The text is read in its normal form (`normal_form`); windows and counts refer to the text as it was given.

A text is tokenised once. A prompt is covered by windows of equal size that share some tokens with their neighbours; an
answer by windows that are cut between its pieces (`answer_pieces`), each piece in one window, with the pieces before it
as context. Where there are more windows than allowed, the first, the last and evenly spread ones between are kept and
the cover says which characters were read. Work is bounded: of a text far longer than all windows together only slices
are tokenised.

What of a window is not read, `tokenised_text` says.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from protector_models.moderation.even_sampling import sample_evenly
from protector_models.reading.languages import LanguageIdentifier
from protector_models.reading.tokenised_text import Tokeniser, Tokens, tokenise
from protector_models.reading.window_cuts import WindowSize, pack_pieces, spread_windows

# English has about 4 characters to a token. A slice of 4 a token fills its window in nearly every script; a text is
# tokenised whole up to twice that, because windows of rare long tokens would otherwise be dropped for nothing.
_SLICE_CHARACTERS_PER_TOKEN = 4
_WHOLE_CHARACTERS_PER_TOKEN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPiece:
    """A piece of a text that is judged by itself: where it stands in its window, and in the text."""

    first: int
    """Its first token in the window."""
    last: int
    """One past its last token in the window; more than `first`."""
    start: int
    """Its first character in the text."""
    end: int
    """One past its last character in the text."""
    normal_form: str
    """What it says, in normal form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextWindow:
    """One window of a text."""

    token_ids: list[int]
    start: int
    """First character read."""
    end: int
    """One past the last character read."""
    pieces: tuple[TextPiece, ...] = ()
    """The pieces that are judged in this window, in order; none where a text is not cut into pieces."""


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
    normal_forms: tuple[str, ...]
    """What was tokenised, in its normal form: the whole text, or slices of one that is far longer than all windows."""


def cover_text(
    text: str,
    tokeniser: Tokeniser,
    identifier: LanguageIdentifier,
    size: WindowSize,
    *,
    max_windows: int,
    by_piece: bool = False,
) -> TextCover:
    """Covers a text with windows.

    Lone surrogates are read as question marks: no tokenizer takes them. Characters that carry no words, such as white
    space, control characters and emoji, count as read where no window was left out.

    Args:
        text: any string.
        tokeniser: tokenises without special tokens; its offsets refer to the text it was given.
        identifier: tells which passages are in a language that the model does not know.
        size: of the windows.
        max_windows: at most so many windows are kept, at least 1.
        by_piece: whether windows are cut between the pieces of an answer, and name them.
    """
    readable = text.encode("utf-8", "replace").decode("utf-8")
    if len(readable) > max_windows * size.num_tokens * _WHOLE_CHARACTERS_PER_TOKEN:
        return _cover_slices(readable, tokeniser, identifier, size, max_windows=max_windows, by_piece=by_piece)
    tokens = tokenise(readable, tokeniser, identifier, by_piece=by_piece)
    windows = _spread(tokens, size)
    if len(windows) <= max_windows:
        return TextCover(
            windows=windows or [TextWindow(token_ids=[], start=0, end=len(text))],
            num_characters=len(text),
            num_characters_read=len(text) - len(tokens.unread),
            languages=tokens.languages,
            normal_forms=(tokens.normal_form,),
        )
    kept = [windows[index] for index in sample_evenly(len(windows), max_windows)]
    return _partial_cover(
        kept, tokens.unread, languages=tokens.languages, normal_forms=[tokens.normal_form], num_characters=len(text)
    )


def _cut(tokens: Tokens, first: int, end: int, pieces: Sequence[tuple[int, int]] = ()) -> TextWindow:
    """Makes a window of the tokens [first, end), in which some pieces are judged."""
    return TextWindow(
        token_ids=tokens.ids[first:end],
        start=tokens.spans[first][0],
        end=tokens.spans[end - 1][1],
        pieces=tuple(
            TextPiece(
                first=piece_first - first,
                last=piece_end - first,
                start=tokens.spans[piece_first][0],
                end=tokens.spans[piece_end - 1][1],
                normal_form=tokens.normal_form[tokens.places[piece_first][0] : tokens.places[piece_end - 1][1]],
            )
            for piece_first, piece_end in pieces
        ),
    )


def _spread(tokens: Tokens, size: WindowSize) -> list[TextWindow]:
    """Makes the windows that cover the tokens."""
    if not tokens.pieces:
        return [_cut(tokens, first, end) for first, end in spread_windows(len(tokens.ids), size)]
    return [_cut(tokens, first, pieces[-1][1], pieces) for first, pieces in pack_pieces(tokens.pieces, size)]


def _cover_slices(
    text: str,
    tokeniser: Tokeniser,
    identifier: LanguageIdentifier,
    size: WindowSize,
    *,
    max_windows: int,
    by_piece: bool,
) -> TextCover:
    """Tokenises evenly spread slices only, one window each; head and tail are among them."""
    length = size.num_tokens * _SLICE_CHARACTERS_PER_TOKEN
    windows: list[TextWindow] = []
    unread: set[int] = set()
    languages: set[str] = set()
    normal_forms: list[str] = []
    for slot in range(max_windows):
        start = round(slot * (len(text) - length) / max(1, max_windows - 1))
        tokens = tokenise(text[start : start + length], tokeniser, identifier, by_piece=by_piece)
        unread.update(start + position for position in tokens.unread)
        languages |= tokens.languages
        normal_forms.append(tokens.normal_form)
        # A slice of more than one window keeps its head; the last one keeps the end of the text.
        found = _spread(tokens, WindowSize(num_tokens=size.num_tokens, overlap=0))
        if not found:
            windows.append(TextWindow(token_ids=[], start=start, end=start + length))
            continue
        windows.append(_move(found[-1] if slot == max_windows - 1 else found[0], start))
    return _partial_cover(
        windows,
        sorted(unread),
        languages=frozenset(languages),
        normal_forms=normal_forms,
        num_characters=len(text),
    )


def _move(window: TextWindow, distance: int) -> TextWindow:
    """Returns a window of a slice as one of the text."""
    pieces = tuple(replace(piece, start=piece.start + distance, end=piece.end + distance) for piece in window.pieces)
    return replace(window, start=window.start + distance, end=window.end + distance, pieces=pieces)


def _partial_cover(
    windows: Sequence[TextWindow],
    unread: Sequence[int],
    *,
    languages: frozenset[str],
    normal_forms: Sequence[str],
    num_characters: int,
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
        normal_forms=tuple(normal_forms),
    )
