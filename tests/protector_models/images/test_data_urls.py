"""Images that stand in their reference."""

import base64
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.images.data_urls import decode_data_url
from protector_models.images.fetch_error import ImageFetchError
from protector_models.moderation.images import ImageFault


def fault(reference: str, **limits: Any) -> ImageFault:
    """Return why a data URL is refused."""
    with pytest.raises(ImageFetchError) as caught:
        decode_data_url(reference, **{"max_bytes": 100, **limits})
    return caught.value.fault


@given(st.binary(max_size=200), st.sampled_from(["image/png", "IMAGE/JPEG", "image/svg+xml;charset=utf-8"]))
def test_what_was_encoded_comes_out_up_to_the_limit_and_not_beyond(data: bytes, media_type: str) -> None:
    reference = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    if len(data) <= 100:
        assert decode_data_url(reference, max_bytes=100) == data
    else:
        assert fault(reference) == ImageFault.TOO_MANY_BYTES


@pytest.mark.parametrize(
    "reference",
    [
        *("data:", "data:,", "data", "data:image/png", "data:image/png;base64", "data:image/png,%89PNG%0D%0A"),
        *("data:image/png;base64,????", "data:image/png;base64,AAA", "data:image/png;base64,AA==AA=="),
        *("data:image/png;base64,AAAA\n", "data:image/png;base64,%41%41%41%41", "data:image/png;base64,ÄÄÄÄ"),
        *("data:image/png;base64,\ud800", "data:image/png;" + "a=b;" * 100 + "base64,AAAA", "data:image/png;base32,AA"),
    ],
)
def test_malformed_ones_are_refused(reference: str) -> None:
    assert fault(reference) in {ImageFault.INVALID_REFERENCE, ImageFault.FORMAT_NOT_ALLOWED}


@pytest.mark.parametrize("media_type", ["text/html", "", "application/pdf", "text/plain;charset=image/png", "imag"])
def test_media_types_that_are_none_of_an_image_are_refused(media_type: str) -> None:
    assert fault(f"data:{media_type};base64,AAAA") == ImageFault.FORMAT_NOT_ALLOWED


def test_a_large_one_is_refused_before_it_is_decoded() -> None:
    reference = "data:image/png;base64," + "A" * 27_000_000
    tracemalloc.start()
    try:
        assert fault(reference, max_bytes=10_000_000) == ImageFault.TOO_MANY_BYTES
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
