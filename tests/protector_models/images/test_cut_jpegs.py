"""JPEGs without their end: read where all but a strip too low for a line of text is there, corrupt otherwise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protector_models.images.decoding import DecodingLimits, Picture, UnreadImageError, decode_picture
from protector_models.moderation.images import ImageFault
from tests.protector_models.pictures import encode, noise, typeset

LIMITS = DecodingLimits(formats=frozenset({"jpeg", "png"}), max_pixels=1_000_000, max_side=2_000, max_frames=1)
PICTURES = {
    "text": typeset(*["a line of text"] * 7, size=(640, 480)),
    "noise": noise((640, 480)),
    "plain": Image.new("RGB", (640, 480), "white"),
}


def decode(data: bytes) -> Picture | ImageFault:
    """Returns a picture, or why it is none."""
    try:
        return decode_picture(data, LIMITS)
    except UnreadImageError as error:
        return error.fault


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("is_progressive", [False, True])
@pytest.mark.parametrize("num_cut", [1, 2])
def test_a_picture_that_lacks_its_end_marker_alone_is_read_as_if_it_were_there_and_marked(
    name: str, is_progressive: bool, num_cut: int
) -> None:
    whole = encode(PICTURES[name], "JPEG", progressive=is_progressive)

    picture, cut = decode(whole), decode(whole[:-num_cut])

    assert isinstance(picture, Picture)
    assert isinstance(cut, Picture)
    assert (picture.is_cut, cut.is_cut) == (False, True)
    assert np.array_equal(picture.views[0], cut.views[0])


@given(
    st.sampled_from(sorted(PICTURES)),
    st.booleans(),
    st.sampled_from([0, 1, 2, 4, 7]),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([b"", b"\xff\xd9"]),
)
def test_wherever_a_picture_is_cut_what_is_read_shows_all_but_a_strip_of_it(
    name: str, is_progressive: bool, restart: int, share: float, end: bytes
) -> None:
    whole = encode(PICTURES[name], "JPEG", progressive=is_progressive, restart_marker_rows=restart)

    cut = decode(whole[: int(len(whole) * share)] + end)

    if isinstance(cut, Picture):
        shown = np.asarray(Image.fromarray(cut.views[0]).convert("L")).astype(int)
        drawn = np.asarray(PICTURES[name].convert("L")).astype(int)
        # In plain areas and in letters alike; what a few bits of fine detail do is far below.
        assert cut.is_cut or end
        assert (np.abs(shown - drawn) > 64).mean() < (0.02 if name != "noise" else 0.5)
    else:
        assert cut in {ImageFault.CORRUPT_IMAGE, ImageFault.FORMAT_NOT_ALLOWED}


# The last scan of a progressive one is the last bit of its finest detail: without it nothing is amiss.
@pytest.mark.parametrize(
    ("is_progressive", "share"), [(False, 0.2), (False, 0.5), (False, 0.9), (True, 0.2), (True, 0.5)]
)
def test_a_picture_of_which_a_part_is_missing_is_corrupt(is_progressive: bool, share: float) -> None:
    whole = encode(PICTURES["noise"], "JPEG", progressive=is_progressive)

    assert decode(whole[: int(len(whole) * share)]) is ImageFault.CORRUPT_IMAGE


@pytest.mark.parametrize(
    ("is_progressive", "share"), [(False, 0.1), (False, 0.5), (False, 0.8), (True, 0.1), (True, 0.3), (True, 0.5)]
)
@pytest.mark.parametrize("restart", [0, 1, 3])
@pytest.mark.parametrize("end", [b"\xff\xd9", b"\xff\xd9" + bytes(40), b"\xff\xfe\x00\x04\xff\xd9\xff\xd9"])
def test_an_end_marker_behind_a_part_of_a_picture_makes_no_whole_of_it(
    is_progressive: bool, restart: int, share: float, end: bytes
) -> None:
    picture = typeset(*["a line of text"] * 30, size=(400, 1_800))
    whole = encode(picture, "JPEG", progressive=is_progressive, restart_marker_rows=restart)

    assert decode(whole[: int(len(whole) * share)] + end) is ImageFault.CORRUPT_IMAGE


@pytest.mark.parametrize("restart", [1, 2])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_what_is_missing_behind_restart_markers_of_a_high_picture_is_missed(restart: int, end: bytes) -> None:
    whole = encode(noise((64, 1_990)), "JPEG", restart_marker_rows=restart)

    assert decode(whole[: len(whole) // 2] + end) is ImageFault.CORRUPT_IMAGE


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    quality=st.integers(1, 100),
    is_progressive=st.booleans(),
    subsampling=st.integers(0, 2),
    restart=st.integers(0, 9),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    kind=st.sampled_from(["noise", "plain"]),
)
def test_no_whole_picture_is_cut(
    size: tuple[int, int],
    quality: int,
    is_progressive: bool,
    subsampling: int,
    restart: int,
    mode: str,
    kind: str,
) -> None:
    picture = (noise(size) if kind == "noise" else Image.new("RGB", size, "grey")).convert(mode)
    whole = encode(
        picture,
        "JPEG",
        quality=quality,
        progressive=is_progressive,
        subsampling=subsampling,
        restart_marker_blocks=restart,
    )

    decoded = decode(whole)

    assert isinstance(decoded, Picture)
    assert not decoded.is_cut


def test_bytes_behind_the_end_and_a_thumbnail_before_the_beginning_make_no_cut() -> None:
    thumbnail = encode(noise((64, 48)), "JPEG")
    segment = b"\xff\xe5" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = encode(PICTURES["text"], "JPEG")
    framed = whole[:2] + segment + whole[2:]

    for data, is_cut in [(framed, False), (framed + bytes(100), False), (framed + framed, False), (framed[:-2], True)]:
        picture = decode(data)
        assert isinstance(picture, Picture)
        assert picture.is_cut == is_cut


@given(st.binary(max_size=60))
def test_any_bytes_are_a_cut_picture_or_none(tail: bytes) -> None:
    assert isinstance(decode(b"\xff\xd8\xff" + tail), ImageFault)


def test_a_png_without_its_end_is_marked_too() -> None:
    whole = encode(PICTURES["text"])

    picture, cut = decode(whole), decode(whole[:-12])

    assert isinstance(picture, Picture)
    assert isinstance(cut, Picture)
    assert (picture.is_cut, cut.is_cut) == (False, True)
