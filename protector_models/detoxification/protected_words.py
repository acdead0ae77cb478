"""Words that no edit may touch: who people are, what they are called, what somebody else said, and calls in code.

They are found by rules and lists alone, so that it holds whatever a model says. The model is careful by training, too;
a word that no rule knows is in its hands.
"""

import re
from collections.abc import Sequence

from protector_models.detoxification.tagged_words import Word
from protector_models.detoxification.word_lists import digest_lists, read_phrases, read_words

PROTECTION_RULES = f"protected-1 {digest_lists()}"
"""Name of these rules, and a digest of all lists; part of the model's revision."""


_VERB_END = re.compile(r"[a-z]{2,}ed")
_CLITIC = re.compile(r"['’]s?\Z", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"\n]+"|“[^”\n]+”|«[^»\n]+»')


def find_protected(sentence: str, words: Sequence[Word]) -> list[bool]:
    """Tells for each word of a sentence whether no edit may touch it.

    Protected are words of `word_lists/identity_terms.txt`; names and titles, which are told by capitals in a sentence
    that has lower case, or by what stands before them ("uncle dick"); what is quoted in a sentence that says that it
    quotes or speaks of a word; what is part of a phrase of `word_lists/fixed_phrases.txt`; and what is called like a
    function.

    Args:
        sentence: the sentence.
        words: its words, as `split_words` returns them.
    """
    texts = [sentence[word.start : word.end] for word in words]
    plain = [_CLITIC.sub("", text.lower()) for text in texts]
    quoted = _find_quoted(sentence, words, plain)
    named = _find_names(texts, plain)
    in_phrase = _find_phrases(plain)
    return [
        is_quoted or is_named or is_part or _is_identity(word_plain) or sentence[word.end : word.end + 1] == "("
        for word, word_plain, is_quoted, is_named, is_part in zip(words, plain, quoted, named, in_phrase, strict=True)
    ]


def is_identity_term(word: str) -> bool:
    """Tells whether a single word is one of the listed terms, whatever its case."""
    return _is_identity(_CLITIC.sub("", word.lower()))


def _is_identity(plain: str) -> bool:
    terms = read_words("identity_terms")
    return plain in terms or (plain.endswith("s") and plain[:-1] in terms)


def _find_phrases(plain: Sequence[str]) -> list[bool]:
    found = [False] * len(plain)
    for place, word in enumerate(plain):
        for phrase in read_phrases("fixed_phrases").get(word, ()):
            if tuple(plain[place : place + len(phrase)]) == phrase:
                found[place : place + len(phrase)] = [True] * len(phrase)
    return found


def _find_quoted(sentence: str, words: Sequence[Word], plain: Sequence[str]) -> list[bool]:
    spans = [match.span() for match in _QUOTED.finditer(sentence)]
    within = [any(start <= word.start < end for start, end in spans) for word in words]
    reports = any(text in read_words("reports") for text, is_within in zip(plain, within, strict=True) if not is_within)
    return within if reports else [False] * len(words)


def _find_names(texts: Sequence[str], plain: Sequence[str]) -> list[bool]:
    is_shouted = not any(text[:1].islower() for text in texts)
    capital = [
        not is_shouted and text[:1].isupper() and not text.isupper() and word not in read_words("never_names")
        for text, word in zip(texts, plain, strict=True)
    ]
    named = [False] * len(texts)
    for place, word in enumerate(plain):
        if not word[:1].isalpha():
            continue
        before = plain[place - 1] if place else ""
        if place > 1 and before == "." and plain[place - 2] in read_words("honorifics"):
            before = plain[place - 2]
        is_titled = before in read_words("honorifics") and word not in read_words("never_names")
        if (is_titled and word in read_words("names")) or _is_in_title(texts, place):
            named[place] = True
        elif capital[place]:
            is_first = not place or not before[:1].isalnum()
            after = plain[place + 1] if place + 1 < len(plain) else ""
            if is_titled:
                named[place] = True
            elif not is_first:
                named[place] = before not in read_words("before_an_insult")
            else:
                is_followed = after in read_words("after_a_name") or bool(_VERB_END.fullmatch(after))
                has_surname = place + 1 < len(texts) and capital[place + 1]
                has_clitic = texts[place].lower() != word
                named[place] = has_surname or (word in read_words("names") and (is_followed or has_clitic))
    return named


def _is_in_title(texts: Sequence[str], place: int) -> bool:
    """Tells whether a word, rude or not, has a capital behind "The" within a sentence, or between two capitals."""

    def has_capital(at: int) -> bool:
        return 0 <= at < len(texts) and texts[at][:1].isupper() and not texts[at][1:].isupper()

    if (
        not has_capital(place)
        or not has_capital(place - 1)
        or texts[place - 1].lower() in read_words("before_an_insult")
    ):
        return False
    if texts[place - 1] == "The":
        return place > 1
    is_within = has_capital(place + 1) and texts[place + 1].lower() not in read_words("never_names")
    return is_within and texts[place - 1].lower() not in read_words("never_names") and texts[place - 1] != "I"
