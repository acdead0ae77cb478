"""Pieces of text, put into lines and the lines into reading order."""

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from protector_models.images.text_lines import Extent, group_lines, order_for_reading


def piece(left: float, top: float, width: float, height: float = 20) -> Extent:
    return Extent(left=left, top=top, right=left + width, bottom=top + height)


extents = st.lists(
    st.builds(piece, *[st.integers(0, 500)] * 2, st.integers(1, 300), st.integers(1, 60)), min_size=1, max_size=25
)


@given(extents)
def test_every_piece_stands_in_exactly_one_line(pieces: list[Extent]) -> None:
    for lines in (group_lines(pieces), order_for_reading(pieces)):
        assert sorted(index for line in lines for index in line) == list(range(len(pieces)))


@given(extents)
def test_lines_are_read_from_left_to_right(pieces: list[Extent]) -> None:
    for line in order_for_reading(pieces):
        assert [pieces[index].left for index in line] == sorted(pieces[index].left for index in line)


@given(extents, st.randoms(use_true_random=False))
def test_the_order_in_which_distinct_pieces_are_found_does_not_matter(pieces: list[Extent], random: Random) -> None:
    distinct = list(dict.fromkeys(pieces))
    shuffled = distinct.copy()
    random.shuffle(shuffled)
    read = [[distinct[index] for index in line] for line in order_for_reading(distinct)]
    assert [[shuffled[index] for index in line] for line in order_for_reading(shuffled)] == read


def test_words_of_a_line_that_are_not_quite_level_stay_together() -> None:
    assert group_lines([piece(120, 6, 80), piece(0, 0, 100), piece(220, 2, 60), piece(0, 40, 100)]) == [[1, 0, 2], [3]]


def test_a_left_column_is_read_before_a_right_one() -> None:
    left = [piece(0, 30 * row, 100) for row in range(3)]
    right = [piece(200, 30 * row, 100) for row in range(3)]

    assert order_for_reading([*left, *right]) == [[0], [1], [2], [3], [4], [5]]


def test_a_heading_above_two_columns_is_read_first() -> None:
    heading = piece(0, 0, 300)
    left = [piece(0, 60 + 30 * row, 100) for row in range(2)]
    right = [piece(200, 60 + 30 * row, 100) for row in range(2)]

    assert order_for_reading([*right, *left, heading]) == [[4], [2], [3], [0], [1]]


def test_words_far_apart_in_a_single_line_are_no_columns() -> None:
    assert order_for_reading([piece(0, 0, 50), piece(300, 0, 50)]) == [[0, 1]]


def test_the_extent_of_a_slanted_box_is_the_rectangle_around_it() -> None:
    box = np.array([[0, 5], [10, 0], [12, 8], [2, 13]], dtype=np.float32)

    assert Extent.of(box) == Extent(left=0, top=0, right=12, bottom=13)
