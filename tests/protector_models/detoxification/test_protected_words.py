"""Words that no edit touches, and the law that none is ever taken out."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.detoxification.edit_decoding import DecodingPlan, SentenceScores, edit_sentence
from protector_models.detoxification.protected_words import find_protected
from protector_models.detoxification.tagged_words import DELETE, append_tag, replace_tag, split_words
from protector_models.detoxification.word_lists import read_words

TAGS = (DELETE, replace_tag(["people"]), replace_tag(["bad", "thing"]), append_tag(["and"]))


def _protected(sentence: str) -> list[str]:
    words = split_words(sentence)
    found = zip(words, find_protected(sentence, words), strict=True)
    return [sentence[word.start : word.end] for word, is_protected in found if is_protected]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("these damn muslims and the black kids", ["muslims", "black"]),
        ("Jews' shops and a lesbian's car", ["Jews", "lesbian's"]),
        ("blackmail is no word for a manly woman", ["woman"]),
        ("we met Dick at the market", ["Dick"]),
        ("Fanny Price and the stupid dog", ["Fanny", "Price"]),
        ("Dick mowed the damn lawn", ["Dick"]),
        ("Randy's damn dog", ["Randy's"]),
        ("mr. butts and uncle dick and professor wang", ["butts", "dick", "wang"]),
        ("i read Moby Dick", ["Moby", "Dick"]),
        ("don't be a dick", []),
        ("Dick move, you Idiot", []),
        ("What a Dick you are", []),
        ("Fucking Idiots took it", []),
        ("YOU STUPID DICK", []),
        ("You Stupid Moron came late", []),
        ("he began The Idiot in Geneva", ["The", "Idiot", "Geneva"]),
        ("i finished moby dick and the spotted dick", ["moby", "dick", "spotted", "dick"]),
        ("The No Asshole Rule is short", ["The", "No", "Asshole", "Rule"]),
        ('he called me a "fat cow" and left', ["fat", "cow"]),
        ("the word “bitch” is rude", ["bitch"]),
        ('you "genius" broke it', []),
        ('"you idiot"', []),
        ('is_shit("x") and shit', ["is_shit"]),
    ],
)
def test_what_is_protected(sentence: str, expected: list[str]) -> None:
    assert [word for word in _protected(sentence) if word[0].isalpha()] == expected


class RandomScorer:
    """Takes any word for toxic, and any edit for the right one."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def score(self, sentence: str) -> SentenceScores:
        words = split_words(sentence)
        return SentenceScores(
            words=tuple(words),
            edited_W=np.array([self._rng.choice([0.2, 0.6, 0.999]) for _ in words]),
            tag_logits_WK=np.array([[self._rng.gauss(0, 2) for _ in TAGS] for _ in words], dtype=np.float32).reshape(
                -1, len(TAGS)
            ),
            toxic=self._rng.uniform(0.5, 1.0),
            fluent=self._rng.random(),
        )


FILLERS = st.sampled_from(
    [
        "the",
        "damn",
        "dog",
        "and",
        "fucking",
        "of",
        ".",
        ",",
        "!",
        "you",
        "idiots",
        "said",
        "is",
        "very",
        "never",
        "goes",
        "with",
    ]
)
TERMS = st.sampled_from(sorted(word for word in read_words("identity_terms") if word.isalpha()))
NAMES = st.sampled_from(["Jennifer", "Ahmed", "Dick", "Fanny", "Wang", "Lake", "Gaylord", "Oscar"])


@given(before=st.lists(FILLERS, max_size=6), after=st.lists(FILLERS, max_size=6), term=TERMS, seed=st.integers(0, 999))
def test_no_edit_takes_out_a_word_for_who_somebody_is(
    before: list[str], after: list[str], term: str, seed: int
) -> None:
    edited = edit_sentence(" ".join([*before, term, *after]), RandomScorer(seed), TAGS, DecodingPlan())
    assert edited is None or term in edited.lower().split()


@given(before=st.lists(FILLERS, max_size=6), after=st.lists(FILLERS, max_size=6), name=NAMES, seed=st.integers(0, 999))
def test_no_edit_takes_out_a_name(before: list[str], after: list[str], name: str, seed: int) -> None:
    sentence = " ".join([*before, "near", name, "Bridge", *after])
    edited = edit_sentence(sentence, RandomScorer(seed), TAGS, DecodingPlan())
    assert edited is None or f"{name} Bridge".split() == [word for word in edited.split() if word in {name, "Bridge"}]
