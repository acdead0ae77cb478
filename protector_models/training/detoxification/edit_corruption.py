"""Sentences that an edit model might make and should not: half edited, wrongly edited, broken.

They teach the model's heads for whole sentences to tell a good candidate from a bad one; what each word becomes is not
learned from them.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protector_models.detoxification.tagged_words import DELETE, KEEP, apply_tags, split_words

_EDITED_SHARE = 0.5
"""A word that so many rewrites edit is one that has to be edited."""
_MAX_BROKEN_WORDS = 3
_MEAN_RANK = 60
"""Of wrong tags: frequent ones are the ones the model falls for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedSentence:
    """A sentence, and what is known of it as a whole."""

    text: str
    toxic: float | None
    """1.0 where the wording is toxic, 0.0 where it is not, None where that is not known."""
    fluent: float | None
    """1.0 where the sentence is one that people write, 0.0 where an edit broke it, None where that is not known."""


def edit_in_part(source: str, shares: Sequence[Mapping[str, float]], rng: random.Random) -> JudgedSentence:
    """Makes the edits that most rewrites ask for at some of the words; it is as toxic as what was left undone."""
    skipped = rng.random()
    tags = []
    left = 0.0
    for share in shares:
        edited = 1.0 - share.get(KEEP, 0.0)
        tag = KEEP if edited < _EDITED_SHARE or rng.random() < skipped else _favourite(share)
        tags.append(tag)
        left = max(left, edited if tag == KEEP else 0.0)
    return JudgedSentence(text=_apply(source, tags), toxic=left, fluent=None)


def edit_wrongly(
    source: str, shares: Sequence[Mapping[str, float]], tag_names: Sequence[str], rng: random.Random
) -> JudgedSentence:
    """Edits every word that most rewrites edit, but at least one of them in a way that none does.

    Args:
        source: the toxic sentence.
        shares: for each of its words the share of each tag among the rewrites.
        tag_names: tags to take the wrong ones from, the most frequent first.
        rng: decides which.
    """
    places = [place for place, share in enumerate(shares) if 1.0 - share.get(KEEP, 0.0) >= _EDITED_SHARE]
    wrong = set(rng.sample(places, rng.randint(1, len(places)))) if places else set()
    tags = [KEEP] * len(shares)
    for place in places:
        share = shares[place]
        if place not in wrong:
            tags[place] = _favourite(share)
        elif share.get(DELETE, 0.0) == 0.0 and rng.random() < 0.7:
            # Where everybody put another word, leaving it out breaks the sentence: the model's commonest fault.
            tags[place] = DELETE
        else:
            others = [tag for tag in tag_names if tag not in share and tag != DELETE]
            tags[place] = others[int(rng.expovariate(1 / _MEAN_RANK)) % len(others)] if others else DELETE
    text = _apply(source, tags)
    return JudgedSentence(text=text, toxic=None, fluent=0.0 if wrong else None)


def break_sentence(text: str, rng: random.Random) -> JudgedSentence:
    """Leaves one to three neighbouring words out of a harmless sentence."""
    words = split_words(text)
    places = [place for place, word in enumerate(words) if text[word.start].isalnum() and not word.is_fixed]
    tags = [KEEP] * len(words)
    if len(places) > 2:
        first = rng.randrange(len(places))
        for place in places[first : first + rng.randint(1, _MAX_BROKEN_WORDS)]:
            tags[place] = DELETE
    return JudgedSentence(text=_apply(text, tags), toxic=0.0, fluent=0.0 if DELETE in tags else 1.0)


def _favourite(share: Mapping[str, float]) -> str:
    """Returns the tag that most rewrites give, of those that edit; the first by name among equals."""
    return min((tag for tag in share if tag != KEEP), key=lambda tag: (-share[tag], tag))


def _apply(text: str, tags: Sequence[str]) -> str:
    return apply_tags(text, split_words(text), tags)
