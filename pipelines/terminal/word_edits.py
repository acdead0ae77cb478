"""What was changed in a text, word by word, to be shown."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, pairwise, takewhile

from protector_models.moderation.sentences import split_sentences

_WORD = re.compile(r"\s*(?:\w+(?:['’]\w+)*|[^\w\s]+)|\s+")
"""With the white space before it, so that a text is nothing but words."""
_LEAST_LIKENESS = 0.5
"""Below it two passages are shown one after the other: words that happen to stand in both would only confuse."""
_MAX_COMPARISONS = 1_000_000
"""Words times words. The comparison takes time with them, up to seconds for as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordEdit:
    """Characters [start, end) of the text before give way to others; not both are empty."""

    start: int
    end: int
    added: str


def find_word_edits(before: str, after: str) -> list[WordEdit]:
    """Return what makes the one text of the other, in order and apart from each other.

    Sentences are compared first, and words within those that differ. Where much differs, and in long texts that repeat
    themselves, edits may be larger than needed, never wrong.
    """
    passages = _compare(_cut_into_sentences(before), _cut_into_sentences(after))
    changes = (change for passage in passages for pair in passage.in_pairs() for change in _compare_words(pair))
    return [change.to_edit() for change in changes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """Pieces of a text, from a position on, give way to others."""

    start: int
    deleted: Sequence[str]
    added: Sequence[str]

    def in_pairs(self) -> "list[_Change]":
        """Return a change for each piece where as many come as go, else the change itself."""
        if len(self.deleted) != len(self.added):
            return [self]
        starts = accumulate(map(len, self.deleted[:-1]), initial=self.start)
        return [
            _Change(start=start, deleted=[deleted], added=[added])
            for start, deleted, added in zip(starts, self.deleted, self.added, strict=True)
        ]

    def to_edit(self) -> WordEdit:
        """Return the edit, without the white space that both sides begin and end with."""
        deleted, added = "".join(self.deleted), "".join(self.added)
        head = _count_shared_blanks(deleted, added)
        tail = _count_shared_blanks(deleted[head:][::-1], added[head:][::-1])
        return WordEdit(
            start=self.start + head,
            end=self.start + len(deleted) - tail,
            added=added[head : len(added) - tail],
        )


def _compare(pieces: Sequence[str], others: Sequence[str], start: int = 0) -> Iterator[_Change]:
    """Yield what makes the one list of pieces of the other."""
    starts = list(accumulate(map(len, pieces), initial=start))
    for kind, first, last, other_first, other_last in SequenceMatcher(None, pieces, others).get_opcodes():
        if kind != "equal":
            yield _Change(start=starts[first], deleted=pieces[first:last], added=others[other_first:other_last])


def _compare_words(passage: _Change) -> Iterable[_Change]:
    """Return the changes of single words that make up one of sentences."""
    words, others = _WORD.findall("".join(passage.deleted)), _WORD.findall("".join(passage.added))
    if len(words) * len(others) > _MAX_COMPARISONS or SequenceMatcher(None, words, others).ratio() < _LEAST_LIKENESS:
        return [passage]
    return _compare(words, others, passage.start)


def _cut_into_sentences(text: str) -> list[str]:
    """Return the sentences of a text, each with the white space behind it."""
    starts = [0, *(sentence.start for sentence in split_sentences(text)[1:]), len(text)]
    return [text[start:end] for start, end in pairwise(starts)]


def _count_shared_blanks(text: str, other: str) -> int:
    """Return how many characters of white space two texts begin with in common."""
    pairs = takewhile(lambda pair: pair[0] == pair[1] and pair[0].isspace(), zip(text, other, strict=False))
    return sum(1 for _ in pairs)
