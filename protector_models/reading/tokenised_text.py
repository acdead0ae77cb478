"""A text as the model's tokens: of its normal form, with their places in the text, its pieces, and what stays unread.

Characters in a token may still not be read: those that `unread_characters` finds, and all of a passage in a language
that the model was not trained on (`languages`).
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from protector_models.reading.answer_pieces import split_pieces
from protector_models.reading.languages import LanguageIdentifier
from protector_models.reading.normal_form import normalise
from protector_models.reading.unread_characters import find_unread

# WordPiece turns a word of more than 100 characters into one unknown token, and Unicode decomposition may triple the
# characters of a word before it is counted: a longer run is broken, so that text without spaces is read as well.
_MAX_WORD_CHARACTERS = 32
_LONG_RUN = re.compile(rf"\S{{{_MAX_WORD_CHARACTERS}}}(?=\S)")

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
class Tokens:
    """The tokens of a text, where they stand in it, and what of it they leave out."""

    normal_form: str
    """What was tokenised."""
    ids: list[int]
    places: list[tuple[int, int]]
    """Characters [start, end) of each token in the normal form."""
    spans: list[tuple[int, int]]
    """Characters [start, end) of each token in the text."""
    unread: list[int]
    """Positions not read, in order."""
    languages: frozenset[str]
    pieces: list[tuple[int, int]]
    """Tokens [first, end) of each piece, one behind the other; none where the text is not cut into pieces."""


def tokenise(text: str, tokeniser: Tokeniser, identifier: LanguageIdentifier, *, by_piece: bool) -> Tokens:
    """Tokenises the normal form of a text.

    Args:
        text: without lone surrogates.
        tokeniser: tokenises without special tokens.
        identifier: tells which passages are in a language that the model does not know.
        by_piece: whether the tokens of its pieces are told.
    """
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
    places = [(_undo_breaks(start, breaks), _undo_breaks(end, breaks)) for start, end in offsets]
    return Tokens(
        normal_form=normal.text,
        ids=token_ids,
        places=places,
        spans=[(normal.place(start), normal.place(end)) for start, end in places],
        unread=sorted(found),
        languages=frozenset(passage.language for passage in foreign),
        pieces=_find_pieces(normal.text, [start for start, _ in places]) if by_piece else [],
    )


def _find_pieces(text: str, starts: Sequence[int]) -> list[tuple[int, int]]:
    """Returns tokens [first, end) of each piece that has any; a token belongs to the piece in which it starts."""
    edges = [0, *(bisect_left(starts, start) for start, _ in split_pieces(text)[1:]), len(starts)]
    return [(first, end) for first, end in pairwise(edges) if first < end]


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
