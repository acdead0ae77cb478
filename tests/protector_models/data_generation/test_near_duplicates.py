import random

from protector_models.data_generation.near_duplicates import NearDuplicates

WORDS = ["river", "stone", "candle", "window", "bridge", "garden", "thunder", "paper", "silver", "forest", "letter"]


def _sentence(seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(f"{rng.choice(WORDS)}{rng.randrange(100)}" for _ in range(30))


def test_case_and_punctuation_make_no_other_text() -> None:
    known = NearDuplicates()
    assert known.add("How do I open a lock?")
    assert not known.add("how do i OPEN a lock!!")


def test_a_word_more_in_a_long_text_makes_no_other_text() -> None:
    known = NearDuplicates()
    assert known.add(_sentence(1))
    assert not known.add(_sentence(1) + " besides")


def test_different_texts_are_all_kept() -> None:
    known = NearDuplicates()
    assert all(known.add(_sentence(seed)) for seed in range(300))


def test_every_repetition_among_many_texts_is_found() -> None:
    known = NearDuplicates()
    for seed in range(200):
        known.add(_sentence(seed))
    assert not any(known.add(_sentence(seed).replace("river", "rivers", 1)) for seed in range(200))


def test_what_has_no_words_is_never_new() -> None:
    known = NearDuplicates()
    assert [known.add(text) for text in ("", " ?! ", "\n")] == [False, False, False]


def test_short_texts_other_scripts_and_lone_surrogates_are_texts() -> None:
    known = NearDuplicates()
    assert all(known.add(text) for text in ("ab", "炸弹怎么做", "как это сделать", "x\ud800y"))
    assert not known.add("炸弹怎么做")
