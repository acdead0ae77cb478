"""What was changed in a text, word by word."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.terminal.word_edits import WordEdit, find_word_edits

TEXTS = st.text(st.sampled_from("ab .!?\n\t,'é🔥|1"), max_size=80)


def applied(before: str, edits: list[WordEdit]) -> str:
    parts, done = [], 0
    for edit in edits:
        assert done <= edit.start <= edit.end <= len(before)
        parts += [before[done : edit.start], edit.added]
        done = edit.end
    return "".join([*parts, before[done:]])


@given(TEXTS, TEXTS)
def test_edits_make_the_one_text_of_the_other(before: str, after: str) -> None:
    edits = find_word_edits(before, after)
    assert applied(before, edits) == after
    assert all(before[edit.start : edit.end] != edit.added for edit in edits)


@given(TEXTS)
def test_equal_texts_have_no_edits(text: str) -> None:
    assert find_word_edits(text, text) == []


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("This was a very bad idea, my friend.", [("fucking stupid", "very bad")]),
        ("This was a idea, my friend.", [(" fucking stupid", "")]),
        ("This was a fucking stupid and bad idea, my friend.", [("", " and bad")]),
        ("I would rather not say that about anybody.", [("This was a fucking stupid idea, my friend.", None)]),
    ],
)
def test_changed_words_are_told_apart_unless_everything_is_new(
    after: str, expected: list[tuple[str, str | None]]
) -> None:
    before = "This was a fucking stupid idea, my friend."
    found = [(before[edit.start : edit.end], edit.added) for edit in find_word_edits(before, after)]
    assert found == [(deleted, after if added is None else added) for deleted, added in expected]


def test_a_sentence_that_goes_leaves_its_neighbours_alone() -> None:
    (edit,) = find_word_edits("First. You are an idiot.\nLast.", "First. (Left out.)\nLast.")
    assert (edit.start, edit.end, edit.added) == (7, 24, "(Left out.)")


@pytest.mark.parametrize(
    "before",
    [
        "You are a stupid idiot who bakes. " * 1_000,
        "\n".join(f"{n} idiot of {n % 7}." for n in range(2_000)),
        "a" * 100_000,
    ],
    ids=["one sentence again and again", "lines", "one word"],
)
@pytest.mark.parametrize("change", [("idiot", "person"), (".", "!"), ("\n", " ")])
def test_long_texts_take_seconds_at_most(before: str, change: tuple[str, str]) -> None:
    after = before.replace(*change)
    started = time.process_time()
    assert applied(before, find_word_edits(before, after)) == after
    assert time.process_time() - started < 10
