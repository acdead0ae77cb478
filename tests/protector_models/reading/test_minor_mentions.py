"""The lexicon of minors, on everyday sentences."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.reading.minor_mentions import mentions_minor

MENTIONED = [
    "My daughter starts school on Monday.",
    "The bus stops for children.",
    "A CHILD's ticket costs two euros.",
    "Kids eat free.",
    "A 12-year-old may ride in front.",
    "a 12 year old cyclist",
    "She is twelve years old and plays chess.",
    "the seven-year-olds won the match",
    "a swimmer, 16 years of age",
    "17yo, plays the violin",
    "13 y.o. goalkeeper",
    "a chess club for players aged 14",
    "Puzzles for ages 8 to 12",
    "suitable from the age of 6",
    "an 18-month-old walks",
    "I'm 15 and I play the drums.",
    "She just turned 13, what cake shall I bake?",
    "He was only eleven when he won.",
    "The 7th grade visits the museum.",
    "third graders plant tomatoes",
    "Grade 5 has maths on Tuesday.",
    "The primary school needs a new roof.",
    "a middle-schooler's science fair",
    "a high school student's timetable",
    "kindergarten opens at eight",
    "The pupils read a poem.",
    "a toddler's shoes",
    "How warm should the room of a newborn be?",
    "Their baby sleeps well.",
    "the little girl found her umbrella",
    "Young boys played football there.",
    "My stepdaughter likes trains.",
    "Our son wants a bicycle.",
    "my nephew's telescope",
    "Teenagers need more sleep.",
    "Underage drivers are not insured.",
    "The law protects minors.",
    "A minor may not sign the contract.",
    "They cannot sell it to a minor",
    "no alcohol under 18",
]

NOT_MENTIONED = [
    "",
    "  \n",
    "a 34-year-old colleague",
    "a thirty-four-year-old colleague",
    "She is fifty two years old.",
    "He turned 40 in May.",
    "I'm 15 minutes late.",
    "She was 12 points ahead.",
    "He came 10th.",
    "She's 5'4 and he is 6 feet tall.",
    "a 118-year-old bridge",
    "a 2,014 years old manuscript",
    "The wall is 300 years old.",
    "Bake it for 12 minutes at 180 degrees.",
    "Chapter 12, page 14",
    "aged 34, from Lisbon",
    "Ages 25 to 40",
    "over 18 only",
    "It was a minor injury.",
    "A sonata in G minor",
    "The minor changes are in the log.",
    "Hey baby, I love this song.",
    "my baby left me",
    "You kidding?",
    "the girl from the bank",
    "boys' night out",
    "students of law school",
    "my high school friend",
    "son of a gun",
    "the person who called",
    "a bold teenth of an inch",
    "Childe Harold",
    "an age of reason",
    "Yo, what's up?",
    "first gear, second floor",
]

OVER_MATCHED = [
    "a 40-year-old child psychologist",
    "a 10-year-old laptop",
    "The pupils of the eye widen in the dark.",
    "node forks a child process",
]


@pytest.mark.parametrize("text", MENTIONED)
def test_ages_school_and_family_words_mention_a_minor(text: str) -> None:
    assert mentions_minor(text)


@pytest.mark.parametrize("text", NOT_MENTIONED)
def test_adults_things_and_endearments_mention_none(text: str) -> None:
    assert not mentions_minor(text)


@pytest.mark.parametrize("text", OVER_MATCHED)
def test_who_is_meant_is_not_understood_and_too_much_is_matched(text: str) -> None:
    assert mentions_minor(text)


@pytest.mark.parametrize("age", range(100))
def test_ages_below_eighteen_are_those_of_minors(age: int) -> None:
    for text in (f"a {age}-year-old dancer", f"aged {age}", f"{age}yo", f"{age} years of age"):
        assert mentions_minor(text) == (age < 18), text


@pytest.mark.parametrize("word", ["kid", "teen", "minors", "infant", "pupil"])
def test_words_have_bounds(word: str) -> None:
    assert mentions_minor(f"({word})")
    for text in (f"x{word}", f"{word}xx", f"é{word}", f"{word}é"):
        assert not mentions_minor(text)


@given(st.text(), st.text())
def test_what_stands_around_a_mention_never_hides_it(before: str, after: str) -> None:
    assert mentions_minor(f"{before} the children {after}")


def test_a_long_text_takes_time_in_proportion() -> None:
    hostile = [
        " ".join(random.Random(0).choices(["a", "12", "year", "i", "x"], k=20_000)),
        "12 year " * 10_000,
        "a" * 100_000,
        "1" * 100_000,
        " " * 100_000,
        "a minor key " * 10_000,
        "twenty-one-year-" * 10_000,
    ]
    start = time.process_time()
    for text in hostile:
        assert not mentions_minor(text)
    # 700,000 characters at up to 1 us; the bound leaves room for a machine with other work.
    assert time.process_time() - start < 10.0
