import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.sentences import MAX_SENTENCE_CHARACTERS, find_settled_ends, split_sentences

SENTENCES = {
    "prose": ["He came.", "Did he?", "Yes!", "“Well...”", "And then (at last) he left"],
    "abbreviations": [
        "Dr. Smith and J. R. Jones paid approx. 3.5 million, e.g. in the U.S. of course.",
        "So did Mrs. Hill.",
    ],
    "a lower-case continuation": ["He works at acme.com. which is odd.", "Yes."],
}


@pytest.mark.parametrize("name", SENTENCES)
def test_prose_is_split_behind_full_stops_that_end_something(name: str) -> None:
    text = "  ".join(SENTENCES[name])
    assert [text[found.start : found.end] for found in split_sentences(text)] == SENTENCES[name]


def test_lines_list_items_and_code_blocks_stay_what_they_are() -> None:
    lines = [
        "# A title",
        "1. Mix it.",
        "Then wait.",
        "2. Bake it",
        "- or not",
        "```python\nx = 1. \n\ny = f(x)\n```",
        "你好。",
        "再见。",
    ]
    text = f"{lines[0]}\n\n{lines[1]} {lines[2]}\n{lines[3]}\n  {lines[4]}\n{lines[5]}\n{lines[6]}{lines[7]}"
    assert [text[found.start : found.end] for found in split_sentences(text)] == lines


def test_a_code_block_that_never_ends_runs_to_the_end() -> None:
    text = "See:\n```\nx. Y\n\nz"
    assert [text[found.start : found.end] for found in split_sentences(text)] == ["See:", "```\nx. Y\n\nz"]


@given(st.one_of(st.text(), st.text(alphabet="Aa1.!? \n`-”", max_size=80)))
def test_sentences_hold_everything_but_white_space_in_order(text: str) -> None:
    reached = 0
    for found in split_sentences(text):
        assert not text[reached : found.start].strip()
        sentence = text[found.start : found.end]
        assert sentence
        assert sentence == sentence.strip()
        assert len(sentence) <= MAX_SENTENCE_CHARACTERS
        reached = found.end
    assert not text[reached:].strip()


@pytest.mark.parametrize(
    "text", ["a" * 250_000, "a. " * 50_000, "." * 250_000, "```\n" * 25_000, "Dr. " * 25_000, "\n1. " * 25_000]
)
def test_time_grows_with_the_length_and_no_faster(text: str) -> None:
    start = time.process_time()
    split_sentences(text)
    # The slowest take about 3 us a character; anything quadratic takes minutes.
    assert time.process_time() - start < 5.0


@given(
    st.text(alphabet="Aa1.!? \n-”。」Dr", max_size=700)
    | st.text(alphabet=" \n.a", max_size=900)
    | st.lists(
        st.sampled_from(["This sentence is long enough to be a piece. ", "Bye.", "\n", " ", "No! ", "Dr. ", "- x\n"])
    ).map("".join),
    st.integers(0, 900),
    st.integers(1, 60),
)
def test_an_end_that_is_settled_stays_one_whatever_follows(text: str, num_known: int, min_characters: int) -> None:
    known = list(find_settled_ends(text[:num_known], start=0, min_characters=min_characters))
    found = list(find_settled_ends(text, start=0, min_characters=min_characters))
    assert found[: len(known)] == known
    for start, end in zip([0, *found], found, strict=False):
        assert 0 < end - start <= MAX_SENTENCE_CHARACTERS
