"""Formats are told from the first bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.images.formats import SIGNATURES_BYTES, sniff_media_type
from tests.protector_models.pictures import encode, noise


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "webp", "bmp", "tiff", "avif"])
def test_pictures_of_each_format_are_known_by_their_first_bytes(name: str) -> None:
    assert sniff_media_type(encode(noise((3, 2)), name)[:SIGNATURES_BYTES]) == f"image/{name}"


@pytest.mark.parametrize(
    ("brands", "media_type"),
    [
        *(([b"heic"], "image/heic"), ([b"heix", b"mif1"], "image/heic"), ([b"mif1"], "image/heic")),
        *(([b"mif1", b"miaf", b"heic"], "image/heic"), ([b"msf1", b"hevc"], "image/heic")),
        *(([b"mif1", b"miaf", b"avif"], "image/avif"), ([b"avis", b"msf1"], "image/avif")),
        *(([b"isom", b"mp42"], None), ([b"qt  "], None), ([b"M4A ", b"mp42"], None), ([b"crx ", b"isom"], None)),
    ],
)
def test_files_of_boxes_are_told_by_their_brands_and_films_are_none(
    brands: list[bytes], media_type: str | None
) -> None:
    box = b"ftyp" + brands[0] + bytes(4) + b"".join(brands)
    head = (len(box) + 4).to_bytes(4, "big") + box

    assert sniff_media_type((head + b"\0\0\0\x08avif")[:SIGNATURES_BYTES]) == media_type


@given(st.text())
def test_no_text_is_a_picture(text: str) -> None:
    assert sniff_media_type(text.encode(errors="replace")[:SIGNATURES_BYTES]) in {None, "image/gif"}


@pytest.mark.parametrize(
    "head",
    [b"", b"B", b"BM", b"BMW is a car", b"<svg xmlns=", b"<!DOCTYPE ht", b"%PDF-1.7\n%\xe2", b"RIFF\0\0\0\0WAVE"],
)
def test_other_formats_are_none(head: bytes) -> None:
    assert sniff_media_type(head) is None
