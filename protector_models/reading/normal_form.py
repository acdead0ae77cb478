"""The normal form of a text: what it says, whatever characters it is written with, as the model reads it.

Training, evaluation and serving read the same form; serving alone also breaks what is longer than 32 characters without
a space (`text_windows`). Ordinary English, Markdown, code and URLs are their own form. The
rules, in this order, until nothing changes:

1. Characters that are neither seen nor read are dropped: zero-width and format characters, controls that are no white
   space, fillers, and the sixteen common variation selectors. Tag characters and the supplementary variation selectors
   stay: they can carry a whole text, and `text_windows` reports them as not read.
2. Unicode's compatibility form (NFKC): full-width, mathematical, circled and superscript characters, ligatures.
   Accents that stand alone (´ ¨) stay, which NFKC would turn into a space, and so do fractions and trade marks, which
   it would melt into the number or word before them. White-on-black letters and letters made of
   regional indicators, which NFKC leaves, become letters as well; two indicators alone are a flag and stay.
3. Look-alikes become Latin letters, in words that are disguised with them: see `look_alikes`.
4. A symbol that the vocabulary has no piece for is set apart from the words it touches: one unknown token would
   swallow both.
5. Words spelt letter by letter, or with digits for letters: see `disguised_words`.

Cost: linear in the length; about 50 us for 1,000 ASCII characters, at most a few us for any other character.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from protector_models.reading.disguised_words import find_signs_for_letters, find_spaced_letters
from protector_models.reading.look_alikes import find_look_alikes
from protector_models.reading.traced_edits import Edit, EditedText, Lookup

NORMALISATION = "norm-1"
"""Name of the rules. Part of the detector's revision: scores under other rules are other scores."""

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a]+"
)
_NOT_ASCII = re.compile("[^\x00-\x7f]+")
_SYMBOL = re.compile("[^\\w\\s\x00-\x7f]+")
_BOXED_LETTER = re.compile("NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL LETTER ([A-Z])")
_TRADE_MARKS = "\u2120\u2122"
_FRACTION_SLASH = "\u2044"
_INDICATORS = re.compile("[\U0001f1e6-\U0001f1ff]+")
_FIRST_INDICATOR = 0x1F1E6
_FLAG_INDICATORS = 2
# Unicode's stream-safe form allows 30 marks on a letter. CPython sorts them in quadratic time: more stay unsorted.
_MAX_MARKS = 30
_MAX_ROUNDS = 8


def normalise(text: str, lookup: Lookup) -> EditedText:
    """Returns the form in which the model reads a text, and the place of each of its characters in the text.

    Args:
        text: any string.
        lookup: the tokenizer's `token_to_id`.
    """
    edited = EditedText.unchanged(text)
    for _ in range(_MAX_ROUNDS):
        before = edited
        edited = edited.apply(_drop_invisible(edited.text))
        if not edited.text.isascii():
            edited = edited.apply(_find_compatible(edited.text))
            edited = edited.apply(_find_indicators(edited.text))
            edited = edited.apply(find_look_alikes(edited.text, lookup))
            edited = edited.apply(_set_symbols_apart(edited.text, lookup))
        edited = edited.apply(find_spaced_letters(edited.text, lookup))
        edited = edited.apply(find_signs_for_letters(edited.text, lookup))
        if edited.text == before.text:
            break
    return edited


def _drop_invisible(text: str) -> Iterator[Edit]:
    for match in _INVISIBLE.finditer(text):
        yield Edit(start=match.start(), end=match.end(), replacement="", sources=())


def _find_compatible(text: str) -> Iterator[Edit]:
    """Finds characters, with the marks that follow them, that have another compatibility form."""
    for match in _NOT_ASCII.finditer(text):
        # A mark changes the character before it, which may be an ASCII letter.
        start = max(0, match.start() - 1) if _joins(text[match.start()]) else match.start()
        while start < match.end():
            end = start + 1
            while end < match.end() and _joins(text[end]):
                end += 1
            cluster = text[start:end]
            form = _compatible(cluster) if end - start <= _MAX_MARKS + 1 else _compatible(cluster[0]) + cluster[1:]
            if form != cluster:
                sources = [min(start + index, end - 1) for index in range(len(form))]
                yield Edit(start=start, end=end, replacement=form, sources=sources)
            start = end


@lru_cache(maxsize=16384)
def _joins(character: str) -> bool:
    """Tells whether a character may melt into the one before it: marks, and the later letters of a Hangul syllable."""
    first = unicodedata.normalize("NFKD", character)[0]
    return unicodedata.category(first)[0] == "M" or "\u1160" <= first <= "\u11ff"


@lru_cache(maxsize=16384)
def _compatible(cluster: str) -> str:
    form = unicodedata.normalize("NFKC", cluster)
    is_accent = len(form) > 1 and form[0] == " " != cluster[0]
    if is_accent or cluster[0] in _TRADE_MARKS or _FRACTION_SLASH in form:
        return cluster
    boxed = _BOXED_LETTER.fullmatch(unicodedata.name(cluster[0], ""))
    return boxed[1] + cluster[1:] if boxed else form


def _find_indicators(text: str) -> Iterator[Edit]:
    for match in _INDICATORS.finditer(text):
        if len(match[0]) != _FLAG_INDICATORS:
            letters = "".join(chr(ord("a") + ord(character) - _FIRST_INDICATOR) for character in match[0])
            yield Edit(start=match.start(), end=match.end(), replacement=letters, sources=range(*match.span()))


def _set_symbols_apart(text: str, lookup: Lookup) -> Iterator[Edit]:
    for match in _SYMBOL.finditer(text):
        start, end = match.span()
        before = " " if start > 0 and text[start - 1].isalnum() and _is_apart(text[start], lookup) else ""
        after = " " if end < len(text) and text[end].isalnum() and _is_apart(text[end - 1], lookup) else ""
        if before or after:
            sources = [*([start] if before else []), *range(start, end), *([end - 1] if after else [])]
            yield Edit(start=start, end=end, replacement=before + match[0] + after, sources=sources)


def _is_apart(symbol: str, lookup: Lookup) -> bool:
    return _is_symbol(symbol) and lookup(f"##{symbol}") is None


@lru_cache(maxsize=8192)
def _is_symbol(character: str) -> bool:
    return unicodedata.category(character) in {"So", "Sm", "Sc", "Sk", "Cn", "Co"}
