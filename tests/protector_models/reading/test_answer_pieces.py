import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.reading.answer_pieces import split_pieces

MARKED_TEXT = st.text(alphabet="ab 7.\n\t|\"':,-#*`{}[]()>!?é漢\u2003", max_size=200)
ANY_TEXT = st.one_of(MARKED_TEXT, st.text(alphabet=st.characters(), max_size=200))
SENTENCES = st.lists(st.sampled_from(["Water the plants.", "Bake it!", "Is it done?", "Yes, it is."]), max_size=12)


def split(text: str) -> list[str]:
    return [text[start:end].strip() for start, end in split_pieces(text)]


@given(ANY_TEXT)
def test_pieces_stand_in_order_and_apart_with_nothing_but_white_space_between_them(text: str) -> None:
    pieces = split_pieces(text)
    assert all(0 <= start < end <= len(text) for start, end in pieces)
    edges = [0, *(edge for piece in pieces for edge in piece), len(text)]
    assert edges == sorted(edges)
    assert not any(text[before:after].strip() for before, after in zip(edges[::2], edges[1::2], strict=True))


@given(ANY_TEXT)
def test_every_piece_has_words_unless_it_is_the_only_one(text: str) -> None:
    pieces = split(text)
    has_words = [re.search(r"\w\W*\w", piece) is not None for piece in pieces]
    assert all(has_words) or len(pieces) == 1
    assert bool(pieces) == bool(text.strip())


@given(SENTENCES)
def test_sentences_in_a_row_are_pieces_of_their_own(sentences: list[str]) -> None:
    assert split(" ".join(sentences)) == sentences


STRUCTURES = {
    "lines": ("one thing\nanother thing", ["one thing", "another thing"]),
    "items": ("- one item\n* two items\n3. three items", ["- one item", "* two items", "3. three items"]),
    "a table": (
        "| cat | dog |\n|---|---|\n| two birds | a fish |",
        ["| cat |", "dog |\n|---|---|\n|", "two birds |", "a fish |"],
    ),
    "JSON": (
        '{"name": "a cat", "likes": ["milk and fish", "mice"]}',
        ['{"name":', '"a cat",', '"likes":', '["milk and fish",', '"mice"]}'],
    ),
    "a list of strings": ("['some milk', 'an egg']", ["['some milk',", "'an egg']"]),
    "a dialogue": ("A: hello there\nB: who are you", ["A: hello there", "B: who are you"]),
    "code": ("```python\nrun(it)\n# a comment\n```", ["```python", "run(it)", "# a comment\n```"]),
    "comments": ("// the first part\n// the second part", ["// the first part", "// the second part"]),
    "a rule under a heading": ("The heading\n-----\nsome text", ["The heading\n-----", "some text"]),
    "a rule before anything": ("-----\nsome text\nmore text", ["-----\nsome text", "more text"]),
    "a pipe is no table": ("cat names | sort", ["cat names | sort"]),
    "a quotation in a sentence": ('He said "no way", and left.', ['He said "no way", and left.']),
    "no word at all": ("...\n--- !", ["...\n--- !"]),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_are_cut_where_their_parts_end(name: str) -> None:
    text, expected = STRUCTURES[name]
    assert split(text) == expected


def test_a_long_block_of_code_is_cut_between_its_lines_and_nowhere_else() -> None:
    lines = [f"total_{number} = compute({number})  # step number {number}" for number in range(60)]
    assert split("```\n" + "\n".join(lines) + "\n```")[1:-1] == lines[1:-1]


def test_a_long_table_has_a_piece_for_every_cell() -> None:
    table = "".join(f"| row {number} | some words |\n" for number in range(200))
    pieces = split(table)
    assert len(pieces) == 400
    assert sum("some words" in piece for piece in pieces) == 200


def test_ten_thousand_sentences_of_one_word_are_as_many_pieces() -> None:
    assert len(split_pieces("Word. " * 10_000)) == 10_000


@pytest.mark.parametrize("separator", [" ", ""])
def test_a_text_without_a_sentence_end_is_cut_all_the_same(separator: str) -> None:
    pieces = split_pieces(separator.join(["word"] * 20_000))
    assert len(pieces) > 100
    assert max(end - start for start, end in pieces) <= 400


# Each would cost a second or more if time grew with the square of the length.
GROWING = ["word ", "Word. ", "| a ", '"a", ', "a\n", "`", "```\n", '"' + " " * 50, "7 ", ". ", "a" + " " * 50]


@pytest.mark.parametrize("unit", GROWING)
def test_time_grows_with_the_length(unit: str) -> None:
    def measure(size: int) -> float:
        text = unit * (size // len(unit))
        started = time.process_time()
        split_pieces(text)
        return time.process_time() - started

    # 16 times the text: 16 times the time, or 256 times if it grew with the square. The first term is the clock's.
    assert measure(160_000) < 0.2 + 64 * measure(10_000)


def test_no_pieces_of_neighbours_overlap_in_a_mixture_of_everything() -> None:
    text = "\n\n".join(text for text, _ in STRUCTURES.values())
    assert all(before[1] <= after[0] for before, after in pairwise(split_pieces(text)))
