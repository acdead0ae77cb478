"""Whether a text mentions a minor: a small lexicon of ages, school and family words, in English.

A mention alone says nothing of harm: it counts only beside a sexual score (`detectors.shipped.minors_rule`). So the
lexicon would rather match too much. It does not know who is meant: "a 40-year-old child psychologist", "a 10-year-old
laptop", "dilated pupils" and "child process" match.

Left out on purpose, because adults use them of adults, or of nobody:

- "girl", "boy", "young", "youth", "student", "lad" alone; "school" and "high school" without a pupil ("my high school
  friend"), "school uniform", "class", "teacher", "nursery", "babysitter", "puberty";
- "baby" as an endearment: bare, and with "my", "hey" or "girl". "A baby", "her baby" and "babies" match;
- "minor" as an adjective ("a minor injury"), of music and of studies. "Minors" matches, and "a minor" where a verb or
  another small word goes on with the sentence, or the text ends;
- "son" without a possessive ("son of a ..."); "mother", "father", "parents";
- numbers that are no age by their words: "16f", "14 m". "I'm 15" and "she turned 12" match from 8 on, because heights
  ("she's 5'4") and small counts stand in the same place; not before a unit ("I'm 15 minutes late");
- "over 18", which says the opposite.

Words of other languages are not in it: passages in them count as not read anyway.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Self

MINOR_MENTIONS = "minors-1"
"""Name of the lexicon. Part of the detector's revision: another lexicon gives other scores."""

# Letters of any script, so that no word is found within a word that has an accent.
_WORD = re.compile(r"[^\W\d_]+|\d+")


def _list(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORDS = _list(
    """
    child children childhood schoolchild schoolchildren grandchild grandchildren stepchild stepchildren godchild
    kid kids kiddies schoolkid schoolkids grandkid grandkids toddler toddlers infant infants newborn newborns babies
    teen teens teenage teenaged teenager teenagers preteen preteens tween tweens adolescent adolescents
    juvenile juveniles youngster youngsters underage underaged minors prepubescent pubescent
    daughter daughters granddaughter granddaughters stepdaughter stepdaughters goddaughter goddaughters
    stepson stepsons grandson grandsons godson godsons niece nieces nephew nephews
    pupil pupils schoolgirl schoolgirls schoolboy schoolboys highschooler highschoolers
    kindergarten kindergartner kindergartners kindergartener kindergarteners preschool preschooler preschoolers
    daycare pedophile pedophiles pedophilia paedophile paedophiles paedophilia csam loli lolis lolicon shota jailbait
    """
)
"""Each of them is a mention."""

_ONES = _list("one two three four five six seven eight nine")
_TO_TWELVE = _ONES | _list("ten eleven twelve")
_TO_SEVENTEEN = _TO_TWELVE | _list("thirteen fourteen fifteen sixteen seventeen")
_TENS = _list("twenty thirty forty fifty sixty seventy eighty ninety")

_SLOTS: Mapping[str, frozenset[str]] = {
    "AGE": _TO_SEVENTEEN | {*map(str, range(18))},
    # What stands after "I am" or "she turned".
    "STATED": (_TO_SEVENTEEN - _list("one two three four five six seven")) | {*map(str, range(8, 18))},
    "YEAR": _list("year years yr yrs month months week weeks"),
    "OLD": _list("old olds"),
    "MONTH": _list("month months"),
    "NUM_MONTHS": _list("eighteen") | {*map(str, range(18, 37))},
    "PERSON": _list("i he she they we you who girl boy"),
    "IS": _list("am m is s are re was were"),
    "TURN": _list("turn turns turned turning"),
    "GRADE": _TO_TWELVE | {*map(str, range(1, 13))},
    "TH": _list("st nd rd th"),
    "NTH": _list("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"),
    "CLASS": _list("grade grades grader graders"),
    "LITTLE": _list("little small young tiny"),
    "GIRL": _list("girl girls boy boys"),
    "SIBLING": _list("sister sisters brother brothers"),
    "WHOSE": _list("my your his her our their"),
    "SON": _list("son sons"),
    "ONE": _list("a the this that his her your our their"),
    "LOWER": _list("primary elementary grade middle secondary sunday boarding"),
    "PUPIL": _list("student students girl girls boy boys kid freshman sophomore junior"),
    # Before and after "minor" as a noun; the empty word stands at the end of a text.
    "A": _list("a the any this that another"),
    "GOES_ON": _list(
        "is was who whom whose and or in to from with by under without has had may can cannot must should will for"
    )
    | _list("at on as if when because but the s")
    | {""},
}
"""Sets of words that stand in `_PHRASES` under these names."""

_PHRASES = (
    "AGE YEAR OLD",
    "AGE YEAR of age",
    "NUM_MONTHS MONTH old",
    "AGE yo",
    "AGE y o",
    "aged AGE",
    "aged AGE YEAR",
    "aged between AGE",
    "age AGE",
    "age of AGE",
    "ages AGE",
    "ages of AGE",
    "under age",
    "under 16",
    "under 18",
    "under eighteen",
    "PERSON IS STATED",
    "PERSON IS only STATED",
    "im STATED",
    "TURN STATED",
    "GRADE TH CLASS",
    "NTH CLASS",
    "grade GRADE",
    "LOWER school",
    "LOWER schools",
    "LOWER schooler",
    "LOWER schoolers",
    "junior high",
    "high school PUPIL",
    "high schooler",
    "high schoolers",
    "day care",
    "LITTLE GIRL",
    "LITTLE ones",
    "little SIBLING",
    "baby SIBLING",
    "kid SIBLING",
    "ONE baby",
    "WHOSE SON",
    "A minor GOES_ON",
    "boy scout",
    "boy scouts",
    "girl scout",
    "girl scouts",
)
"""At least two words in a row, whatever signs stand between them. What ends in a number is no phrase before a unit."""

_UNITS = _list(
    """
    minute minutes min mins hour hours hrs second seconds day days week weeks month months year years am pm
    feet foot ft inch inches cm m km mile miles meters metres kg pounds lbs percent points times steps dollars euros
    out of th
    """
)
_NUMBER_SLOTS = frozenset({"AGE", "STATED", "GRADE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phrase:
    """Words in a row, each one of a few."""

    slots: tuple[frozenset[str], ...]
    ends_in_number: bool

    @classmethod
    def read(cls, written: str) -> Self:
        """Reads a phrase as `_PHRASES` has them."""
        names = written.split()
        return cls(
            slots=tuple(_SLOTS.get(name, frozenset({name})) for name in names),
            ends_in_number=names[-1] in _NUMBER_SLOTS,
        )

    def stands_at(self, words: Sequence[str], place: int) -> bool:
        """Tells whether the phrase begins with the word at a place."""
        end = place + len(self.slots)
        found = words[place:end]
        if len(found) < len(self.slots) or any(word not in slot for word, slot in zip(found, self.slots, strict=True)):
            return False
        return not (self.ends_in_number and end < len(words) and words[end] in _UNITS)


def _index_by_first_words() -> dict[tuple[str, str], list[_Phrase]]:
    index: dict[tuple[str, str], list[_Phrase]] = {}
    for phrase in map(_Phrase.read, _PHRASES):
        for pair in product(phrase.slots[0], phrase.slots[1]):
            index.setdefault(pair, []).append(phrase)
    return index


_BY_FIRST_WORDS = _index_by_first_words()


def mentions_minor(text: str) -> bool:
    """Tells whether a text mentions a minor.

    Cost: linear in the length, at most 1 us a character.

    Args:
        text: in its normal form (`normal_form`).
    """
    words: list[str] = [*_WORD.findall(text.lower()), ""]
    if not _WORDS.isdisjoint(words):
        return True
    return any(_stands_at(words, place, pair) for place, pair in enumerate(pairwise(words)))


def _stands_at(words: Sequence[str], place: int, pair: tuple[str, str]) -> bool:
    phrases = _BY_FIRST_WORDS.get(pair)
    if phrases is None:
        return False
    # "thirty-four years old"
    if pair[0] in _ONES and place > 0 and words[place - 1] in _TENS:
        return False
    return any(phrase.stands_at(words, place) for phrase in phrases)
