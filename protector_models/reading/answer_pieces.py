"""The pieces of an answer that are judged one by one: sentences, list items, table cells, lines of code, string values.

Sentences are those of `moderation.sentences`; here they are cut further where a table, a fenced block of code or JSON
puts several texts into one. What has no word of its own, such as a rule under a heading, belongs to its neighbour.

Cost: linear in the length.
"""

import re
from collections.abc import Iterator

from protector_models.moderation.sentences import split_sentences

PIECES = "pieces-1"
"""Name of the rules; part of the detector's revision."""

# A sentence has several lines only where it is code.
_LINE = re.compile(r"[^\n]+")
# A row of a table has at least two bars; one alone may be a shell's pipe.
_BAR = re.compile(r"\|")
_MIN_BARS = 2
# The end of a string of JSON, or of a quoted list, behind which another one begins.
_STRING_END = re.compile(r"[\"'][ \t]*[,:][ \t]*(?=[\[{]?[ \t]*[\"'])")
_WORDS = re.compile(r"\w\W*+\w")


def split_pieces(text: str) -> list[tuple[int, int]]:
    """Returns characters [start, end) of the pieces of any text, in order and apart; none for a text of white space.

    Between two pieces there is nothing but white space.
    """
    found = [piece for sentence in split_sentences(text) for piece in _split(text, sentence.start, sentence.end)]
    pieces: list[tuple[int, int]] = []
    for start, end in found:
        if _WORDS.search(text, start, end):
            # What stood before the first piece, a rule or a bar, belongs to it.
            pieces.append((start if pieces else found[0][0], end))
        elif pieces:
            pieces[-1] = (pieces[-1][0], end)
    return pieces or ([(found[0][0], found[-1][1])] if found else [])


def _split(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for line in _LINE.finditer(text, start, end):
        yield from _split_line(text, *line.span())


def _split_line(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    bars = [match.end() for match in _BAR.finditer(text, start, end)]
    cuts = bars if len(bars) >= _MIN_BARS else [match.end() for match in _STRING_END.finditer(text, start, end)]
    for cut in (*cuts, end):
        if text[start:cut].strip():
            yield start, cut
        start = cut
