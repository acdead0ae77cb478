"""Text in pictures, read by the real models."""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from protector_models.images.decoding import DecodingLimits, UnreadImageError, decode_picture
from protector_models.images.text import TextReader, clean_text
from protector_models.moderation.images import ImageFault
from tests.protector_models.pictures import encode, noise, typeset, write

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


def long_picture(*positions: int, is_wide: bool = False, length: int = 4_600) -> Image.Image:
    """A picture much longer than wide, with a numbered line at each position along it."""
    picture = Image.new("RGB", (length, 180) if is_wide else (180, length), "white")
    for number, position in enumerate(positions):
        write(picture, f"Line {number + 1}", font_size=30, origin=(position, 60) if is_wide else (40, position))
    return picture


@settings(max_examples=3)
@given(position=st.integers(10, 4_440), is_wide=st.booleans())
@example(position=1_510, is_wide=False)
@example(position=1_527, is_wide=False)
@example(position=1_460, is_wide=True)
def test_text_anywhere_along_a_long_picture_is_read_once(position: int, is_wide: bool) -> None:
    assert read(long_picture(position, is_wide=is_wide)) == ["Line 1"]


def test_lines_of_a_long_picture_are_read_from_the_top_down() -> None:
    positions = range(40, 9_900, 490)

    assert read(long_picture(*positions, length=10_000)) == [f"Line {at + 1}" for at in range(len(positions))]


def test_a_line_that_is_longer_than_what_is_searched_at_once_is_one_line() -> None:
    words = " ".join(["one line that goes on and on"] * 5)
    picture = Image.new("RGB", (3_400, 120), "white")
    write(picture, words, font_size=44, origin=(30, 30))

    assert read(picture) == [words]


def test_time_is_checked_between_the_tiles_of_a_long_picture() -> None:
    class LateError(Exception):
        """The time is over."""

    checks = iter(range(2))

    def check_time() -> None:
        if next(checks, None) is None:
            raise LateError

    with pytest.raises(LateError):
        reader().read(np.asarray(Image.new("RGB", (200, 12_000), "white")), check_time=check_time)


def read_large(picture: Image.Image) -> list[str]:
    """Reads a picture as a file of it is read."""
    limits = DecodingLimits(formats=frozenset({"png"}), max_pixels=40_000_000, max_side=16_384, max_frames=1)
    decoded = decode_picture(encode(picture), limits)
    return reader().read(decoded.views[0], detail=decoded.details[0], check_time=lambda: None)


@pytest.mark.parametrize(
    ("size", "font_size", "origin"),
    [((4_400, 2_400), 14, (2_060, 1_100)), ((3_840, 2_160), 13, (3_300, 40)), ((2_300, 3_600), 14, (20, 3_540))],
)
def test_small_letters_on_a_large_screen_are_read_wherever_they_stand(
    size: tuple[int, int], font_size: int, origin: tuple[int, int]
) -> None:
    assert read_large(typeset(*LINES, size=size, font_size=font_size, origin=origin)) == list(LINES)


def test_large_letters_and_small_ones_on_one_screen_are_read_once_each() -> None:
    picture = typeset("Bread at home", size=(3_400, 1_900), font_size=260, origin=(100, 80))
    write(picture, *LINES, font_size=15, origin=(700, 1_300))

    assert read_large(picture) == ["Bread at home", *LINES]


def test_large_letters_on_a_large_screen_are_read_once() -> None:
    assert read_large(typeset(*LINES, size=(3_400, 1_900), font_size=120)) == list(LINES)


def test_a_large_picture_that_loses_nothing_by_being_shrunk_is_read_no_further() -> None:
    rows, columns = np.mgrid[:1_600, :2_800]
    soft = np.stack([np.sin(columns / 70), np.sin(rows / 90), np.cos((rows + columns) / 310)], axis=2)
    picture = Image.fromarray(((soft + 1) * 127).astype(np.uint8))
    checks: list[None] = []

    found = reader().read(
        np.asarray(picture.resize((2_000, 1_143))), detail=np.asarray(picture), check_time=lambda: checks.append(None)
    )

    assert (found, len(checks)) == ([], 1)


def test_columns_are_read_one_after_the_other() -> None:
    picture = typeset("first column", "goes on here", size=(800, 200), font_size=30)
    write(picture, "second column", "ends over here", font_size=30, origin=(450, 30))

    assert read(picture) == ["first column", "goes on here", "second column", "ends over here"]


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 2_000), (2_000, 3), (2_000, 6), (6, 2_000), (40, 10)])
def test_pictures_of_any_shape_without_text_have_none(size: tuple[int, int]) -> None:
    assert read(Image.new("RGB", size, "grey")) == []


def test_noise_has_no_text() -> None:
    assert read(noise((400, 60))) == []


# matplotlib has a font with the letters of many scripts in its wheel.
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
UNKNOWN = {
    "Cyrillic": ("Завтра утром поезд придёт", "на второй путь вокзала"),
    "Greek": ("Αύριο το πρωί το τρένο", "φτάνει στον σταθμό"),
    "Arabic": ("غدا صباحا يصل القطار", "إلى المحطة الثانية"),
    "Georgian": ("ხვალ დილით მატარებელი", "მოვა სადგურზე"),
}


@pytest.mark.parametrize("script", UNKNOWN)
@pytest.mark.parametrize("num_lines", [1, 2])
@pytest.mark.parametrize("quarter_turns", [0, 1, 2])
def test_a_picture_of_text_in_a_script_that_the_models_do_not_know_is_not_understood(
    script: str, num_lines: int, quarter_turns: int
) -> None:
    picture = typeset(*UNKNOWN[script][:num_lines], size=(720, 150), font=FONT)

    with pytest.raises(UnreadImageError) as caught:
        read(picture.rotate(90 * quarter_turns, expand=True))

    assert caught.value.fault is ImageFault.TEXT_NOT_UNDERSTOOD


@pytest.mark.parametrize(
    "line",
    [
        *("Der Zug fährt über Köln zurück", "Où est la gare, s'il vous plaît ?", "El tren llegará mañana"),
        *("Pociąg odjeżdża jutro rano", "for x in range(10): print(x)", "Total: 1,249.50 EUR (19%)", "@weir_1"),
    ],
)
def test_latin_letters_with_marks_and_lines_of_signs_are_read(line: str) -> None:
    assert read(typeset(line, size=(720, 110), font=FONT)) != []


def test_stripes_and_spots_are_no_text_that_was_not_understood() -> None:
    rows, columns = np.mgrid[:300, :400]
    stripes = np.stack([np.sin(columns / 7), np.sin(rows / 9), np.cos((rows + columns) / 31)], axis=2)

    assert read(Image.fromarray(((stripes + 1) * 127).astype(np.uint8))) == []


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
