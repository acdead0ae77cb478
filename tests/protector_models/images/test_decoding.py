"""Pictures of every sort, sound and not, within limits."""

import io
import struct
import tracemalloc
import warnings
import zlib
from dataclasses import replace

import numpy as np
import pillow_heif
import pytest
from PIL import Image, PngImagePlugin

from protector_models.images.decoding import (
    MAX_SIDE_OF_MANY,
    MAX_VIEW_SIDE,
    DecodingLimits,
    Picture,
    Pixels,
    UnreadImageError,
    decode_picture,
)
from protector_models.moderation.images import ImageFault
from tests.protector_models.pictures import animate, encode, noise, typeset

LIMITS = DecodingLimits(
    formats=frozenset({"png", "jpeg", "gif", "webp", "bmp", "tiff", "heic", "avif"}),
    max_pixels=40_000_000,
    max_side=16_384,
    max_frames=4,
)
FORMS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "HEIF", "AVIF")
MANY = ("GIF", "PNG", "WEBP", "TIFF", "HEIF", "AVIF")


def fault_of(data: bytes, limits: DecodingLimits = LIMITS) -> ImageFault:
    with pytest.raises(UnreadImageError) as caught:
        decode_picture(data, limits)
    return caught.value.fault


def decode(data: bytes, limits: DecodingLimits = LIMITS) -> Picture:
    return decode_picture(data, limits)


def distance(view: Pixels, picture: Image.Image) -> float:
    """Mean difference of two pictures' values, of 255."""
    return float(np.abs(view.astype(np.int64) - np.asarray(picture.convert("RGB")).astype(np.int64)).mean())


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes], pixels: bytes = b"\0") -> bytes:
    """A PNG with a header of our choice."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_format_shows_what_was_drawn(form: str) -> None:
    drawn = typeset("Every format", size=(320, 100))

    picture = decode(encode(drawn, form))

    assert (picture.width, picture.height, len(picture.views)) == (320, 100, 1)
    # Lossy formats stay within a few values of 255; a wrong channel order or ground would be tens away.
    assert distance(picture.views[0], drawn) < 4


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_what_is_cut_off_is_corrupt_and_never_a_picture_in_part(form: str, share: float) -> None:
    data = encode(noise(), form)

    assert fault_of(data[: int(len(data) * share)]) is ImageFault.CORRUPT_IMAGE


@pytest.mark.parametrize("form", FORMS)
def test_a_header_and_nothing_else_is_corrupt(form: str) -> None:
    assert fault_of(encode(noise(), form)[:16]) is ImageFault.CORRUPT_IMAGE


def test_other_formats_are_refused_whatever_they_pretend_to_be() -> None:
    for data in (b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<!DOCTYPE html><p>image/png", b"%PDF-1.7", b"", b"x"):
        assert fault_of(data) is ImageFault.FORMAT_NOT_ALLOWED


def test_a_format_that_is_not_listed_is_refused() -> None:
    assert fault_of(encode(noise(), "TIFF"), replace(LIMITS, formats=frozenset({"png"}))) is (
        ImageFault.FORMAT_NOT_ALLOWED
    )


def test_a_huge_header_is_refused_before_anything_is_decoded_and_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Between Pillow's own limits it would warn, above them raise: both are told the same way here.
        for width, height in ((20_000, 20_000), (10_000, 10_000), (100_000, 1), (1, 100_000)):
            assert fault_of(png_of(width, height)) is ImageFault.TOO_MANY_PIXELS


def test_pixels_that_inflate_beyond_the_header_are_never_written() -> None:
    picture = decode(png_of(1, 1, pixels=b"\0" * 50_000_000))

    assert picture.views[0].shape == (1, 1, 3)


def test_a_text_chunk_that_inflates_is_corrupt() -> None:
    bomb = b"comment\0\0" + zlib.compress(b"\0" * 10_000_000)

    assert fault_of(png_of(1, 1, (b"zTXt", bomb), pixels=b"\0\0\0\0")) is ImageFault.CORRUPT_IMAGE


def test_plain_text_of_half_a_megabyte_does_no_harm() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "x" * 500_000)

    assert decode(encode(noise(), "PNG", pnginfo=notes)).width == 120


def test_one_pixel_is_a_picture() -> None:
    assert decode(encode(Image.new("RGB", (1, 1), "red"))).views[0].tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize("form", MANY)
def test_every_frame_is_a_view_and_equal_ones_are_one(form: str) -> None:
    frames = [typeset(word, size=(160, 80)) for word in ("one", "two", "one")]

    picture = decode(animate(frames, form))

    assert [distance(view, frame) < 8 for view, frame in zip(picture.views, frames[:2], strict=True)] == [True, True]


@pytest.mark.parametrize("form", MANY)
def test_one_frame_too_many_and_nothing_is_read(form: str) -> None:
    frames = [typeset(str(number), size=(160, 80)) for number in range(LIMITS.max_frames + 1)]

    assert fault_of(animate(frames, form)) is ImageFault.TOO_MANY_FRAMES
    assert decode(animate(frames[:-1], form)).width == 160


def test_pixels_are_those_of_all_frames() -> None:
    pages = [typeset(str(number), size=(160, 80)) for number in range(3)]

    assert fault_of(animate(pages, "TIFF"), replace(LIMITS, max_pixels=160 * 80 * 2)) is ImageFault.TOO_MANY_PIXELS


def test_a_page_that_is_larger_than_the_first_is_refused_too() -> None:
    pages = [noise((16, 16)), noise((64, 64))]

    assert fault_of(animate(pages, "TIFF"), replace(LIMITS, max_side=32)) is ImageFault.TOO_MANY_PIXELS


def test_large_pictures_are_shrunk_and_say_how_large_they_were() -> None:
    picture = decode(encode(Image.new("L", (4_000, 3_000), "white"), "BMP"))

    assert (picture.width, picture.height) == (4_000, 3_000)
    assert picture.views[0].shape == (1_500, MAX_VIEW_SIDE, 3)
    assert picture.details[0] is not None
    assert picture.details[0].shape == (3_000, 4_000, 3)


def test_only_of_what_was_shrunk_the_full_size_is_kept_and_no_more_of_it_than_can_be_searched() -> None:
    assert decode(encode(Image.new("RGB", (2_000, 900)))).details == (None,)
    (detail,) = decode(encode(Image.new("L", (6_000, 4_000)), "BMP")).details
    assert detail is not None
    assert 15_900_000 < detail.shape[0] * detail.shape[1] < 16_100_000


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        *(((1_080, 5_400), (1_000, 5_000)), ((5_400, 1_080), (5_000, 1_000)), ((200, 16_000), (200, 16_000))),
        *(((100, 6_000), (100, 6_000)), ((1_500, 3_001), (1_000, 2_001)), ((1_500, 2_999), (1_000, 2_000))),
    ],
)
def test_of_long_pictures_the_shorter_side_is_shrunk_to_half_of_that(
    size: tuple[int, int], seen: tuple[int, int]
) -> None:
    height, width, _ = decode(encode(Image.new("L", size, "white"), "BMP")).views[0].shape

    assert (width, height) == seen


def test_of_several_pictures_in_one_file_the_one_that_is_shown_comes_first() -> None:
    file = pillow_heif.HeifFile()  # type: ignore[no-untyped-call]  # it leaves that untyped
    for colour in ("red", "blue", "green"):
        file.add_from_pillow(Image.new("RGB", (64, 64), colour))
    content = io.BytesIO()
    file.save(content, primary_index=1)

    seen = [view[0, 0].argmax() for view in decode(content.getvalue()).views]
    assert seen == [2, 0, 1]


@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
@pytest.mark.parametrize("size", [(50_000, 50_000), (16_384, 16_384), (100_000, 1)])
def test_a_header_in_boxes_that_promises_too_much_is_refused_before_anything_is_decoded(
    form: str, size: tuple[int, int]
) -> None:
    data = encode(noise(), form)
    at = data.index(b"ispe") + 8

    assert fault_of(data[:at] + struct.pack(">II", *size) + data[at + 8 :]) in {
        ImageFault.TOO_MANY_PIXELS,
        ImageFault.CORRUPT_IMAGE,
    }


def test_many_views_are_shrunk_further() -> None:
    frames = [Image.new("RGB", (1_500, 1_000), colour) for colour in ("red", "green", "blue", "white")]

    assert {view.shape[1] for view in decode(animate(frames, "TIFF")).views} == {MAX_SIDE_OF_MANY}


def test_every_mode_comes_out_as_colours() -> None:
    drawn = typeset("Modes", size=(160, 80))
    for form, mode in (("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "P"), ("PNG", "1"), ("TIFF", "CMYK"), ("TIFF", "LAB")):
        source = drawn if mode != "LAB" else Image.new("LAB", (160, 80), (255, 128, 128))
        picture = decode(encode(source.convert(mode), form))
        assert picture.views[0].shape == (80, 160, 3)
        if mode not in ("LAB", "1"):
            assert distance(picture.views[0], drawn) < 8


def test_a_deep_picture_takes_little_more_memory_than_another() -> None:
    content = encode(Image.fromarray(np.zeros((3_000, 3_000), dtype=np.uint16)))
    tracemalloc.start()
    try:
        decode(content)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # Two bytes a pixel as it is stored, one as it is shown, and three of each view; as eight-byte numbers it took 32.
    assert peak_bytes < 15 * 3_000 * 3_000


def test_numbers_that_are_none_do_not_hide_the_others() -> None:
    deep = np.full((20, 40), 1.0, dtype=np.float32)
    deep[5:15, 5:15] = 0.0
    deep[0, :3] = [np.nan, np.inf, -np.inf]

    stretched, *_ = decode(encode(Image.fromarray(deep), "TIFF")).views
    assert int(stretched[2, 2, 0]) - int(stretched[10, 10, 0]) == 255


def test_deep_pictures_are_seen_stretched_and_cut_off() -> None:
    # Black on white where values above 255 are cut off; all but black where they are stretched over the whole range.
    deep = np.full((20, 40), 300, dtype=np.uint16)
    deep[5:15, 5:15] = 0
    deep[0, 0] = 65_535

    stretched, cut_off = decode(encode(Image.fromarray(deep))).views

    assert int(stretched[10, 30, 0]) - int(stretched[10, 10, 0]) <= 2
    assert int(cut_off[10, 30, 0]) - int(cut_off[10, 10, 0]) == 255


def test_transparent_pictures_are_seen_on_white_on_black_and_as_if_they_were_not() -> None:
    picture = Image.new("RGBA", (40, 20), (200, 0, 0, 0))

    on_white, on_black, opaque = decode(encode(picture)).views

    assert [view[0, 0].tolist() for view in (on_white, on_black, opaque)] == [[255] * 3, [0] * 3, [200, 0, 0]]


def test_colours_under_full_transparency_survive_shrinking() -> None:
    picture = Image.new("RGBA", (3_000, 20), (200, 0, 0, 0))

    assert [200, 0, 0] in [view[5, 5].tolist() for view in decode(encode(picture)).views]


def test_an_alpha_channel_that_hides_nothing_adds_no_view() -> None:
    assert len(decode(encode(typeset("Opaque").convert("RGBA"))).views) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_and_mirrored_ones_seen_both_ways(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    picture = decode(encode(noise((60, 40)), "PNG", exif=exif))

    assert (picture.width, picture.height) == ((60, 40) if orientation < 5 else (40, 60))
    assert len(picture.views) == (2 if orientation in (2, 4, 5, 7) else 1)


@pytest.mark.parametrize("form", MANY)
@pytest.mark.parametrize("share", [0.4, 0.5, 0.9])
def test_an_animation_that_is_cut_off_is_corrupt_though_its_first_frame_is_whole(form: str, share: float) -> None:
    data = animate([noise((60, 40), seed=seed) for seed in range(3)], form)

    assert fault_of(data[: int(len(data) * share)]) is ImageFault.CORRUPT_IMAGE
