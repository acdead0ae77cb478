"""Words spelt so that a reader understands them and a filter does not: letter by letter, or with digits for letters."""

import math
import re
from collections.abc import Iterator, Sequence
from itertools import product

from protector_models.reading.traced_edits import Edit, Lookup

_SPACED = re.compile(r"(?<![0-9A-Za-z'’])[A-Za-z](?:[ .\-_*·~]{1,3}+[A-Za-z](?![0-9A-Za-z'’])){3,}+")
_GAP = re.compile(r"[^A-Za-z]+")
_MAX_KINDS_OF_GAP = 3
_MAX_ACRONYM_LETTERS = 6
_MAX_WORD_LETTERS = 14
_MIN_READABLE_LETTERS = 3

_STANDS_FOR = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g"}
_STANDS_FOR |= {"@": "a", "$": "s", "!": "il", "|": "li", "+": "t"}
# No disguised word without a sign before a letter: the quick look that ordinary text ends with.
_SIGN_BEFORE_LETTER = re.compile(r"[013-57-9@$!|+][A-Za-z]")
# Words of URLs, paths, identifiers, tags and hexadecimal numbers are not looked at.
_CODED = re.compile(
    r"(?<![\w@$!|+./\\:#=<>%&{}\[\]`~^*-])[A-Za-z0-9@$!|+]{2,24}+(?![\w@$|+/\\:=<>%&{}\[\]`~^-]|[.(]\w)", re.ASCII
)
_INNER_SIGN = re.compile(r"[A-Za-z][013-57-9@$!|+]+[A-Za-z]")
_NUMBER_WITH_UNIT = re.compile(r"\$?\d+[A-Za-z]{1,2}|\d+(?:[A-Za-z]\d+)+")
_MAX_AMBIGUOUS_SIGNS = 3
_MIN_CLEAR_LETTERS = 4
_CONTEXT_CHARACTERS = 64


def find_spaced_letters(text: str, lookup: Lookup) -> Iterator[Edit]:
    """Finds words spelt letter by letter ("h o w  t o", "b.o.m.b"), at least 4 letters in a row.

    Wider gaps end words. Letters between them that are no word are cut into the likeliest words of the vocabulary. All
    are left alone where they make no words, are an alphabet (A B C D), or an acronym (U.S.A.F).
    """
    for match in _SPACED.finditer(text):
        places = [place for place in range(*match.span()) if text[place].isalpha()]
        letters = "".join(text[place] for place in places)
        gaps = _GAP.findall(match[0])
        if _is_listing(letters, gaps):
            continue
        widest, narrowest = max(map(len, gaps)), min(map(len, gaps))
        gap_ends = [index for index, gap in enumerate(gaps, 1) if len(gap) > narrowest] if widest > narrowest else []
        bounds = [
            bound
            for start, end in zip([0, *gap_ends], [*gap_ends, len(letters)], strict=True)
            for bound in _cut_into_words(letters, start, end, lookup)
        ]
        words = [letters[start:end] for start, end in bounds]
        if not _is_readable(words, lookup):
            continue
        # The space after a word stands for the first character of the gap.
        sources = [place for start, end in bounds for place in (*places[start:end], places[end - 1] + 1)][:-1]
        yield Edit(start=match.start(), end=match.end(), replacement=" ".join(words), sources=sources)


def _is_listing(letters: str, gaps: Sequence[str]) -> bool:
    steps = [ord(after) - ord(before) for before, after in zip(letters.lower(), letters[1:].lower(), strict=False)]
    is_alphabet = 2 * sum(step in {0, 1} for step in steps) >= len(steps)
    is_acronym = letters.isupper() and len(letters) <= _MAX_ACRONYM_LETTERS and " " not in gaps[0]
    return is_alphabet or is_acronym or len(set(gaps)) > _MAX_KINDS_OF_GAP


def _is_readable(words: Sequence[str], lookup: Lookup) -> bool:
    known = sum(len(word) for word in words if len(word) >= _MIN_READABLE_LETTERS and lookup(word.lower()) is not None)
    return 2 * known >= sum(map(len, words))


def _cut_into_words(text: str, first: int, last: int, lookup: Lookup) -> list[tuple[int, int]]:
    """Cuts letters [first, last) where that gives the likeliest words by Zipf's law; a word of its own stays whole."""
    letters = text[first:last].lower()
    if lookup(letters) is not None:
        return [(first, last)]
    costs_of_words: dict[str, float] = {}
    costs = [0.0]
    starts = [0]
    for end in range(1, len(letters) + 1):
        # A letter that belongs to no word costs more than any word.
        best, best_start = costs[-1] + 25.0, end - 1
        for start in range(max(0, end - _MAX_WORD_LETTERS), end):
            word = letters[start:end]
            if word not in costs_of_words:
                costs_of_words[word] = _weigh(word, lookup)
            if costs[start] + costs_of_words[word] < best:
                best, best_start = costs[start] + costs_of_words[word], start
        costs.append(best)
        starts.append(best_start)
    bounds: list[tuple[int, int]] = []
    end = len(letters)
    while end > 0:
        bounds.append((first + starts[end], first + end))
        end = starts[end]
    return bounds[::-1]


def _weigh(word: str, lookup: Lookup) -> float:
    """Returns a word's cost: two for the cut, and the logarithm of its rank; infinity for no word."""
    rank = (lookup("the") if word in {"a", "i"} else None) if len(word) == 1 else lookup(word)
    return math.inf if rank is None else 2.0 + math.log(max(3, rank - (lookup("the") or 0)))


def find_signs_for_letters(text: str, lookup: Lookup) -> Iterator[Edit]:
    """Finds words with digits or signs for letters ("m4ke", "b0mb").

    Such a word is clear if it has 4 letters or more, at least half of them real, a sign between letters, and becomes a
    word of the vocabulary. Shorter words, and words that begin or end with the sign, may be anything ("t0", "s3"): they
    are read only near a clear one.
    """
    if not _SIGN_BEFORE_LETTER.search(text):
        return
    found = [edit for match in _CODED.finditer(text) if (edit := _decode(match.start(), match[0], lookup))]
    clear = [edit for edit in found if _is_clear(text[edit.start : edit.end])]
    nearest = 0
    for edit in found:
        while nearest + 1 < len(clear) and clear[nearest + 1].start <= edit.start:
            nearest += 1
        if any(abs(other.start - edit.start) <= _CONTEXT_CHARACTERS for other in clear[nearest : nearest + 2]):
            yield edit


def _is_clear(word: str) -> bool:
    num_letters = sum(map(str.isalpha, word))
    return len(word) >= _MIN_CLEAR_LETTERS and 2 * num_letters >= len(word) and bool(_INNER_SIGN.search(word))


def _decode(start: int, word: str, lookup: Lookup) -> Edit | None:
    word = word.rstrip("!")
    signs = [sign for sign in word if not sign.isalpha()]
    if not signs or len(signs) == len(word) or any(sign not in _STANDS_FOR for sign in signs):
        return None
    if _NUMBER_WITH_UNIT.fullmatch(word) or lookup(word.lower()) is not None:
        return None
    plain = word.rstrip("".join(_STANDS_FOR))
    if len(plain) >= _MIN_CLEAR_LETTERS and plain.isalpha() and lookup(plain.lower()) is not None:
        return None  # a word and a number: "step5"
    for decoded in _spell(word):
        if lookup(decoded.lower()) is not None:
            end = start + len(word)
            return Edit(start=start, end=end, replacement=decoded, sources=range(start, end))
    return None


def _spell(word: str) -> Iterator[str]:
    """Yields what a word may stand for, at most 8 readings."""
    choices = [_STANDS_FOR.get(character, character) for character in word]
    if sum(len(choice) > 1 for choice in choices) > _MAX_AMBIGUOUS_SIGNS:
        choices = [choice[0] for choice in choices]
    yield from map("".join, product(*choices))
