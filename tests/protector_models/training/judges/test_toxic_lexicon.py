import pytest

from protector_models.training.judges.toxic_lexicon import MIN_TEXTS, learn_toxic_words

pytestmark = pytest.mark.training

SOURCES = [f"damn the bus {number}" for number in range(20)]
REWRITES = [f"the bus {number}" for number in range(20)]


def test_words_that_people_take_out_are_learned_and_those_they_leave_are_not() -> None:
    assert learn_toxic_words(SOURCES, REWRITES) == ["damn"]


def test_case_does_not_matter_and_a_word_counts_once_a_text() -> None:
    assert learn_toxic_words(["DAMN damn damn"] * (MIN_TEXTS - 1) + ["the bus"] * 20, REWRITES) == []
    assert learn_toxic_words(["DAMN"] * MIN_TEXTS + ["the bus"] * 20, REWRITES) == ["damn"]


def test_no_texts_teach_no_words() -> None:
    assert learn_toxic_words([], []) == []
