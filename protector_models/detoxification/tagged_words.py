"""The words of a text as the edit model sees them, and the text that its edits make of them.

A tag says what happens to one word: it stays, it goes, other words take its place, or words are put behind it. All that
no tag touches keeps its characters: casing, punctuation, white space, links and code.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

KEEP = "keep"
DELETE = "delete"
_REPLACE = "replace "
_APPEND = "append "

_WORD = re.compile(
    r"(?P<fixed>```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|www\.\S+|\S+@\S+\.\w+|<[^<>\n]+>|\|)"
    # Signs within a word belong to it, as in f**k and sh!t; so does a contraction that was torn apart ("don 't").
    r"|[^\W_]+(?:['’*@$!#._-]*[^\W_]+)*(?: ?['’] ?(?:t|s|m|re|ve|ll|d)\b)?"
    r"|\S",
    re.DOTALL | re.IGNORECASE,
)
_VOWEL_SOUND = re.compile(r"(?!one|once|uni|us[aeiu]|eu)[aeiou]|hono|hour|heir", re.IGNORECASE)
_SENTENCE_SIGNS = frozenset(".!?")
_LINE_MARKS = frozenset("-*+>#•")
_SEPARATORS = frozenset(",;:-–—")


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """Characters [start, end) of a text: a word, or a single sign."""

    start: int
    end: int
    is_fixed: bool
    """Whether it is a link, an address, code, or the mark of a table, list or heading: such are never edited."""


def split_words(text: str) -> list[Word]:
    """Returns the words of a text in order; all that lies between them is white space."""
    return [
        Word(
            start=match.start(),
            end=match.end(),
            is_fixed=match["fixed"] is not None or _is_line_mark(text, match.start(), match.end()),
        )
        for match in _WORD.finditer(text)
    ]


def _is_line_mark(text: str, start: int, end: int) -> bool:
    """Tells whether a word is the mark that a list item, a quotation or a heading begins with."""
    is_first = start == 0 or text[start - 1] in "\n#"
    return is_first and text[start:end] in _LINE_MARKS and text[end : end + 1] in {" ", "#", "\t"}


def plain_form(text: str) -> str:
    """Returns a word as tags spell it: in lower case, without white space, with straight apostrophes."""
    return "".join(text.split()).replace("’", "'").lower()


def replace_tag(words: Sequence[str]) -> str:
    """Returns the tag that puts other words in a word's place."""
    return _REPLACE + " ".join(words)


def append_tag(words: Sequence[str]) -> str:
    """Returns the tag that puts words behind a word."""
    return _APPEND + " ".join(words)


def apply_tags(text: str, words: Sequence[Word], tags: Sequence[str]) -> str:
    """Makes the edits that tags ask for.

    What is put in a word's place takes on its casing. Behind a deletion the text is joined without double spaces, a
    sentence that began with a capital still does, commas that nothing stands before go, and "a" and "an" agree with
    the word that now follows.

    Args:
        text: the text that was split.
        words: its words.
        tags: one for each word: `KEEP`, `DELETE`, or made by `replace_tag` or `append_tag`.

    Returns:
        The text itself where every tag is `KEEP`; an empty text where nothing but white space is left.
    """
    if all(tag == KEEP for tag in tags):
        return text
    pieces = edited_pieces(text, words, tags)
    gaps = [text[before : word.start] for before, word in zip([0, *(word.end for word in words)], words, strict=False)]
    parts: list[str] = []
    is_start = wants_capital = False
    for position, (word, gap, piece) in enumerate(zip(words, gaps, pieces, strict=True)):
        original = text[word.start : word.end]
        is_start = position == 0 or text[words[position - 1].start] in _SENTENCE_SIGNS or "\n" in gap
        wants_capital = (wants_capital and not is_start) or (is_start and original[:1].isupper())
        if not piece:
            # The gap before it goes with it, but a line break stays.
            parts.append(gap[gap.index("\n") :] if "\n" in gap and position else "")
            continue
        is_first = not "".join(parts).strip()
        parts.append("" if is_first and position else gap)
        parts.append(piece[:1].upper() + piece[1:] if wants_capital else piece)
        wants_capital = False
    tail = text[words[-1].end :] if words else text
    return "".join([text[: words[0].start] if words and not pieces[0] else "", *parts, tail]) if any(pieces) else ""


def edited_pieces(text: str, words: Sequence[Word], tags: Sequence[str]) -> list[str]:
    """Returns what becomes of each word, without the white space between; an empty text for one that goes."""
    pieces = [_edit(text[word.start : word.end], tag) for word, tag in zip(words, tags, strict=True)]
    _drop_idle_separators(pieces, tags)
    _agree_articles(pieces, tags)
    return pieces


def _edit(word: str, tag: str) -> str:
    if tag == KEEP:
        return word
    if tag == DELETE:
        return ""
    if tag.startswith(_APPEND):
        return f"{word} {tag.removeprefix(_APPEND)}"
    return _cased_like(word, tag.removeprefix(_REPLACE))


def _cased_like(word: str, replacement: str) -> str:
    if word.isupper() and len(word) > 1:
        return replacement.upper()
    return replacement[:1].upper() + replacement[1:] if word[:1].isupper() else replacement


def _drop_idle_separators(pieces: list[str], tags: Sequence[str]) -> None:
    """Empties a comma or dash that a deletion left at the beginning, at the end, or beside another sign."""
    last = ""
    for position, piece in enumerate(pieces):
        if not piece:
            continue
        is_idle = tags[position - 1] == DELETE and (not last or last in _SEPARATORS | _SENTENCE_SIGNS)
        if position and piece in _SEPARATORS and is_idle:
            pieces[position] = ""
        else:
            last = piece
    after = ""
    for position in range(len(pieces) - 1, -1, -1):
        piece = pieces[position]
        if not piece:
            continue
        is_cut = position + 1 < len(pieces) and tags[position + 1] == DELETE
        if piece in _SEPARATORS and is_cut and (not after or after in _SENTENCE_SIGNS):
            pieces[position] = ""
        else:
            after = piece


def _agree_articles(pieces: list[str], tags: Sequence[str]) -> None:
    """Makes "a" or "an" of an article before a word that was edited, or whose neighbour went."""
    article: int | None = None
    is_edited = False
    for position, piece in enumerate(pieces):
        is_edited = is_edited or tags[position] != KEEP
        if not piece:
            continue
        if article is not None and is_edited and piece[0].isalpha():
            letters = "an" if _VOWEL_SOUND.match(piece) else "a"
            pieces[article] = _cased_like(pieces[article], letters)
        article = position if piece.lower() in {"a", "an"} else None
        is_edited = tags[position] != KEEP and article is not None
