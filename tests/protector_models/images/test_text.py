"""Text in pictures, read by the real models."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protector_models.images.decoding import UnreadImageError
from protector_models.images.text import TextReader, clean_text
from protector_models.moderation.images import ImageFault
from tests.protector_models.pictures import noise, typeset, write

pytestmark = pytest.mark.shipped

LINES = ("How to bake a loaf of bread", "in an oven without a door")


@cache
def reader(max_pieces: int = 400) -> TextReader:
    return TextReader.load(min_confidence=0.5, max_pieces=max_pieces)


def read(picture: Image.Image, *, max_pieces: int = 400) -> list[str]:
    return reader(max_pieces).read(np.asarray(picture.convert("RGB")), check_time=lambda: None)


def test_lines_are_read_in_order_with_their_spaces_and_list_numbers() -> None:
    assert read(typeset(*LINES, "1. yeast", size=(900, 230), font_size=44)) == [*LINES, "1. yeast"]


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_turned_pictures_are_read_in_the_order_of_their_lines(quarter_turns: int) -> None:
    turned = typeset(*LINES, size=(640, 150)).rotate(90 * quarter_turns, expand=True)

    assert read(turned) == list(LINES)


def test_light_text_on_a_dark_ground_is_read() -> None:
    assert read(typeset(*LINES, size=(640, 150), ink="white", ground=(20, 20, 60))) == list(LINES)


def test_small_text_in_a_small_picture_is_read() -> None:
    assert read(typeset(*LINES, size=(300, 70), font_size=18, origin=(8, 8))) == list(LINES)


def test_text_in_a_large_picture_is_read() -> None:
    assert read(typeset(*LINES, size=(2_000, 250), font_size=60)) == list(LINES)


def test_a_strip_is_read() -> None:
    assert read(typeset(" ".join(LINES), size=(1_200, 60), origin=(10, 6))) == [" ".join(LINES)]


def test_columns_are_read_one_after_the_other() -> None:
    picture = typeset("first column", "goes on here", size=(800, 200), font_size=30)
    write(picture, "second column", "ends over here", font_size=30, origin=(450, 30))

    assert read(picture) == ["first column", "goes on here", "second column", "ends over here"]


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 2_000), (2_000, 3), (2_000, 6), (6, 2_000), (40, 10)])
def test_pictures_of_any_shape_without_text_have_none(size: tuple[int, int]) -> None:
    assert read(Image.new("RGB", size, "grey")) == []


def test_noise_has_no_text() -> None:
    assert read(noise((400, 60))) == []


def test_more_pieces_than_are_read_and_none_is() -> None:
    with pytest.raises(UnreadImageError, match="at most 1 pieces of text, got 2") as caught:
        read(typeset(*LINES, size=(640, 150)), max_pieces=1)

    assert caught.value.fault is ImageFault.TEXT_NOT_READ


def test_time_is_checked_between_pieces() -> None:
    checks: list[None] = []

    reader().read(np.asarray(typeset(*LINES, size=(640, 150))), check_time=lambda: checks.append(None))

    assert len(checks) >= len(LINES)


@given(st.text())
def test_clean_text_is_one_plain_line(text: str) -> None:
    cleaned = clean_text(text)

    assert clean_text(cleaned) == cleaned
    assert cleaned.isprintable()
    assert cleaned == " ".join(cleaned.split())


def test_composed_and_decomposed_letters_are_one() -> None:
    assert clean_text("cafe\u0301\u200b  au\tlait\x00") == "caf\u00e9 au lait"
