"""Letters that look like Latin ones, and the words in which they stand for them.

The table is Unicode's, of the characters that are confused with each other (UTS 39); `confusable_homoglyphs` ships it.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import groupby

from confusable_homoglyphs.confusables import confusables_data  # type: ignore[import-untyped]  # it ships no types

from protector_models.reading.traced_edits import Edit, Lookup

_WORD = re.compile(r"[^\W\d_]+")
_FOREIGN = re.compile(r"[^\W\d_\x00-\x7f]")
_LATIN_NAME = re.compile(r"LATIN (?:SMALL LETTER|CAPITAL LETTER|LETTER SMALL CAPITAL) ([A-Z])")
# Unicode compares shapes only; these are taken for the letter by people who disguise words.
_TAKEN_FOR = {
    **dict.fromkeys("кκ", "k"),
    **dict.fromkeys("мⅿ", "m"),
    **dict.fromkeys("тτ", "t"),
    **dict.fromkeys("пη", "n"),
    **dict.fromkeys("ω", "w"),
    **dict.fromkeys("ΙІӀ", "I"),
}
# A single Greek letter is a variable, two may be a product: fewer of them than this are left as they are.
_MIN_GREEK_LETTERS = 3
# A word that mixes scripts is a disguise even where the vocabulary lacks it, unless it is as short as a formula.
_MIN_UNKNOWN_LETTERS = 5


def find_look_alikes(text: str, lookup: Lookup) -> Iterator[Edit]:
    """Finds the words in which letters stand for Latin ones that look the same.

    A word is such a disguise if all of its letters are Latin or look like Latin ones, and

    - it mixes Latin with another script and becomes a word of the vocabulary, or has at least 5 letters; or
    - it has Latin letters only, some of them rare shapes such as small capitals, the vocabulary lacks it, and it
      becomes a word of the vocabulary; or
    - it is wholly of another script, becomes a word of the vocabulary, and no word beside it shows that this script is
      really written here.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    for is_other_script, group in groupby(words, key=lambda word: _is_other_script(text[slice(*word)])):
        run = list(group)
        if is_other_script:
            letters = "".join(text[start:end] for start, end in run)
            is_formula = len(letters) < _MIN_GREEK_LETTERS and _script(letters[0]) == "GREEK"
            if is_formula or not all(map(_find_latin, letters)):
                continue
        for start, end in run:
            word = text[start:end]
            latin = None if word.isascii() else _read_as_latin(word, lookup)
            if latin is not None:
                yield Edit(start=start, end=end, replacement=latin, sources=range(start, end))


def _read_as_latin(word: str, lookup: Lookup) -> str | None:
    letters = [letter if letter.isascii() else _find_latin(letter) for letter in word]
    latin = "".join(letter or "" for letter in letters)
    if None in letters:
        return None
    scripts = {_script(letter) for letter in word}
    if lookup(latin.lower()) is not None:
        return latin if len(scripts) > 1 or scripts != {"LATIN"} or lookup(word.lower()) is None else None
    return latin if len(scripts) > 1 and len(word) >= _MIN_UNKNOWN_LETTERS else None


def _is_other_script(word: str) -> bool:
    return not word.isascii() and all(_script(letter) != "LATIN" for letter in word)


@lru_cache(maxsize=8192)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "?").split(" ", 1)[0]


@lru_cache(maxsize=8192)
def _find_latin(letter: str) -> str | None:
    """Returns the ASCII letter that a letter looks like, None where it looks like none."""
    if letter in _TAKEN_FOR:
        return _TAKEN_FOR[letter]
    shapes = _shapes().get(letter, ())
    for shape in shapes:
        if shape.isascii() and shape.isalpha():
            return shape
    for shape in (letter, *shapes):
        match = _LATIN_NAME.fullmatch(unicodedata.name(shape, ""))
        if match:
            return match[1].lower()
    return None


@cache
def _shapes() -> dict[str, list[str]]:
    return {
        letter: [shape["c"] for shape in shapes if len(shape["c"]) == 1]
        for letter, shapes in confusables_data.items()
        if _FOREIGN.fullmatch(letter)
    }
