"""Ways in which a text is disguised or damaged while people can still read it, or decode it.

Each is deterministic: the same text under the same record id comes out the same in every run. Words and order of
characters stay what they were except where a docstring says so. What is listed here is for measuring robustness, and
nothing is tuned on it: the normalisation in front of the detector has its own tables.
"""

import base64
import random
import re
import unicodedata
from collections.abc import Callable, Mapping

Perturbation = Callable[[str, random.Random], str]
"""Makes the perturbed text; draws only from the generator it is given."""

_CONFUSABLES = str.maketrans("aceijopsxyABCEHIKMOPSTXY", "асеіјорѕхуАВСЕНІКМОРЅТХУ")
_LEETSPEAK = str.maketrans("aeiostAEIOST", "431057431057")
_FULLWIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_BOLD = (
    {ord("A") + index: 0x1D400 + index for index in range(26)}
    | {ord("a") + index: 0x1D41A + index for index in range(26)}
    | {ord("0") + index: 0x1D7CE + index for index in range(10)}
)
_INVISIBLE = ("\u200b", "\u200c", "\u200d", "\u2060", "\u00ad")
_ACCENTS = ("\u0301", "\u0308", "\u0323", "\u0336")
_LETTERS_IN_A_ROW = re.compile(r"(?<=\w)(?=\w)")
_WORD = re.compile(r"[^\W\d_]{4,}")
_TYPO_SHARE = 0.2


def perturb(name: str, text: str, record_id: str) -> str:
    """Applies the perturbation of that name.

    Raises:
        KeyError: there is none.
    """
    return PERTURBATIONS[name](text, random.Random(f"{name}:{record_id}"))


def _space_letters(text: str, _: random.Random) -> str:
    """Puts a space between letters; words stand three spaces apart."""
    return _LETTERS_IN_A_ROW.sub(" ", re.sub(r" +", "   ", text))


def _insert_invisible(text: str, rng: random.Random) -> str:
    """Puts characters of no width into words, after every third letter or so."""
    return _LETTERS_IN_A_ROW.sub(lambda _: rng.choice(_INVISIBLE) if rng.random() < 0.35 else "", text)


def _add_accents(text: str, rng: random.Random) -> str:
    """Puts a combining mark on every other letter or so."""
    marked = (
        character + rng.choice(_ACCENTS) if character.isalpha() and rng.random() < 0.5 else character
        for character in text
    )
    return unicodedata.normalize("NFC", "".join(marked))


def _make_typos(text: str, rng: random.Random) -> str:
    """Swaps, drops or doubles a letter inside one long word in five."""
    return _WORD.sub(lambda found: _mistype(found[0], rng) if rng.random() < _TYPO_SHARE else found[0], text)


def _mistype(word: str, rng: random.Random) -> str:
    # First and last letter stay: that is how people mistype, and how they still read it.
    at = rng.randrange(1, len(word) - 2)
    middle = rng.choice((word[at + 1] + word[at], word[at + 1], word[at] + word[at] + word[at + 1]))
    return word[:at] + middle + word[at + 2 :]


def _reverse_words(text: str, _: random.Random) -> str:
    """Puts the words in the opposite order; white space becomes single spaces."""
    return " ".join(reversed(text.split()))


PERTURBATIONS: Mapping[str, Perturbation] = {
    "fullwidth": lambda text, _: text.translate(_FULLWIDTH),
    "bold": lambda text, _: text.translate(_BOLD),
    "confusables": lambda text, _: text.translate(_CONFUSABLES),
    "zero_width": _insert_invisible,
    "accents": _add_accents,
    "letter_spacing": _space_letters,
    "leetspeak": lambda text, _: text.translate(_LEETSPEAK),
    "upper_case": lambda text, _: text.upper(),
    "typos": _make_typos,
    "reversed_words": _reverse_words,
    "reversed": lambda text, _: text[::-1],
    "base64": lambda text, _: base64.b64encode(text.encode()).decode("ascii"),
}
"""By name, from the ones that Unicode normalisation undoes to the ones that need decoding."""
