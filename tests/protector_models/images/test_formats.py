"""Formats are told from the first bytes."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protector_models.images.formats import SIGNATURES_BYTES, sniff_media_type


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "webp", "bmp", "tiff"])
def test_pictures_of_each_format_are_known_by_their_first_bytes(name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(file, name)
    assert sniff_media_type(file.getvalue()[:SIGNATURES_BYTES]) == f"image/{name}"


@given(st.text())
def test_no_text_is_a_picture(text: str) -> None:
    assert sniff_media_type(text.encode(errors="replace")[:SIGNATURES_BYTES]) in {None, "image/gif"}


@pytest.mark.parametrize(
    "head",
    [b"", b"B", b"BM", b"BMW is a car", b"<svg xmlns=", b"<!DOCTYPE ht", b"%PDF-1.7\n%\xe2", b"RIFF\0\0\0\0WAVE"],
)
def test_other_formats_are_none(head: bytes) -> None:
    assert sniff_media_type(head) is None
