"""The sentences of an answer: offsets into the text as it is, in time that grows with its length.

Own rules, because answers of chat models are not prose: lists, headings, tables and code. (pysbd takes 1.3 s for 36 kB,
syntok joins list items.) A line ends a sentence, so does a full stop, unless it stands in a number, an abbreviation, an
initial or behind a list number. A fenced block of code is one sentence. What is longer than 400 characters is cut,
code between its lines.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_SENTENCE_CHARACTERS = 400

_SEEN_BEHIND_END = 8
"""Characters behind an end that are seen before it counts as one in a text that still grows: none that follow could
make it part of something else."""

_BLOCK = re.compile(r"^[ \t]*```[^\n]*\n.*?(?:^[ \t]*```[ \t]*$|\Z)|[^\n]+", re.MULTILINE | re.DOTALL)
_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]*_]*+(?=\s)|[。！？]++[”」』）]*+")
_LAST_WORD = re.compile(r"(?:[A-Za-z]\.)*[A-Za-z0-9]{1,7}$")
_ABBREVIATION = re.compile(
    r"(?i:al|approx|cf|co|corp|dept|dr|e\.g|ed|eg|esp|est|fig|gen|gov|i\.e|ie|inc|jr|ltd|mr|mrs|ms|mt|no|pp?|prof|rep|rev"
    r"|sen|sr|st|u\.k|u\.n|u\.s|viz|vol|vs)|(?!I)[A-Z]"
)
_LIST_NUMBER = re.compile(r"\s*(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,4})\.")
_LAST_WORD_CHARACTERS = 16
_LOOK_AHEAD_CHARACTERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """Characters [start, end) of a text, without white space around them; never empty."""

    start: int
    end: int


def split_sentences(text: str) -> list[Sentence]:
    """Returns the sentences of any text, in order; they hold everything but white space between them."""
    pieces = (piece for block in _BLOCK.finditer(text) for piece in _split_block(text, *block.span()))
    return [trimmed for start, end in pieces if (trimmed := _trim(text, start, end)) is not None]


def find_settled_ends(text: str, *, start: int, min_characters: int) -> Iterator[int]:
    """Finds where a text that still grows may be cut: ends that stay ends whatever follows.

    A line, code or not, may be cut off at its end; what is longer than `MAX_SENTENCE_CHARACTERS` is cut.

    Args:
        text: as far as it has come.
        start: of what is left: 0, or an end that was found before.
        min_characters: of a piece, at least 1: shorter sentences stay with the next one.

    Yields:
        The first end behind `start`, the next one behind it, and so on: the same for every text that begins so.
    """
    while (end := _find_settled_end(text, start, min_characters)) is not None:
        yield end
        start = end


def _find_settled_end(text: str, start: int, min_characters: int) -> int | None:
    limit = start + MAX_SENTENCE_CHARACTERS
    seen = text[start : limit + _SEEN_BEHIND_END]
    from_line = 0
    while from_line < len(seen):
        line_end = seen.find("\n", from_line) + 1
        list_number = _LIST_NUMBER.match(seen, from_line)
        sentence_ends = (
            match.end()
            for match in _END.finditer(seen, list_number.end() if list_number else from_line, line_end or len(seen))
            if _is_settled(seen, match.end(), line_end) and not _is_abbreviation(seen, from_line, match)
        )
        ends: list[int] = [*sentence_ends, *([line_end] if line_end else [])]
        for end in ends:
            if end <= MAX_SENTENCE_CHARACTERS and len(seen[:end].strip()) >= min_characters:
                return start + end
        from_line = line_end or len(seen)
    if len(seen) < MAX_SENTENCE_CHARACTERS + _SEEN_BEHIND_END:
        return None
    # Nothing ends in here, whatever follows.
    space = text.rfind(" ", start + MAX_SENTENCE_CHARACTERS // 2, limit)
    return space + 1 if space >= 0 else limit


def _is_settled(seen: str, end: int, line_end: int) -> bool:
    """Tell whether it is known what follows an end; that of a line takes the white space before it with it."""
    is_seen = line_end > 0 or end + _SEEN_BEHIND_END <= len(seen)
    return is_seen and bool(seen[end : line_end or len(seen)].strip())


def _split_block(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    is_code = text[start:end].lstrip(" \t").startswith("```") and "\n" in text[start:end]
    if not is_code:
        list_number = _LIST_NUMBER.match(text, start, end)
        for match in _END.finditer(text, list_number.end() if list_number else start, end):
            if not _is_abbreviation(text, start, match):
                yield from _cut(text, start, match.end())
                start = match.end()
    yield from _cut(text, start, end)


def _is_abbreviation(text: str, start: int, end: re.Match[str]) -> bool:
    if end[0] != ".":
        return False
    if text[end.end() : end.end() + _LOOK_AHEAD_CHARACTERS].lstrip()[:1].islower():
        return True
    word = _LAST_WORD.search(text[max(start, end.start() - _LAST_WORD_CHARACTERS) : end.start()])
    return word is not None and _ABBREVIATION.fullmatch(word[0]) is not None


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > MAX_SENTENCE_CHARACTERS:
        middle, limit = start + MAX_SENTENCE_CHARACTERS // 2, start + MAX_SENTENCE_CHARACTERS
        # Only code has line ends in it.
        line_end = text.rfind("\n", middle, limit)
        space = line_end if line_end >= 0 else text.rfind(" ", middle, limit)
        cut = space + 1 if space >= 0 else limit
        yield start, cut
        start = cut
    yield start, end


def _trim(text: str, start: int, end: int) -> Sentence | None:
    piece = text[start:end]
    stripped = piece.strip()
    if not stripped:
        return None
    start += len(piece) - len(piece.lstrip())
    return Sentence(start=start, end=start + len(stripped))
