"""Images that stand in their reference."""

import base64
import tracemalloc
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

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
        *("data:", "data", "data:image/png", "data:image/png;base64", "data:image/png#,AAAA", "image/png;base64,AAAA"),
        *("data:image/png;base64,????", "data:image/png;base64,AAAAA", "data:image/png;base64,AA==AA=="),
        *("data:image/png;base64,AA=", "data:image/png;base64,====", "data:image/png;base64,AAAA%", "data:;base64,%4"),
        *("data:image/png;base64,%zzAA", "data:image/png;base64,%%41A", "data:image/png;base64,ÄÄÄÄ"),
        *("data:image/png;base64,\ud800", "data:image/png;" + "a=b;" * 100 + "base64,AAAA"),
    ],
)
def test_malformed_ones_are_refused(reference: str) -> None:
    assert fault(reference) == ImageFault.INVALID_REFERENCE


def spread(text: str, blanks: Sequence[str], positions: Sequence[int]) -> str:
    """Put blanks into a text."""
    for blank, position in zip(blanks, positions, strict=False):
        at = position % (len(text) + 1)
        text = text[:at] + blank + text[at:]
    return text


ways = st.fixed_dictionaries(
    {
        "blanks": st.lists(st.sampled_from([" ", "\n", "\r\n", "\t", "\f", "%0A", "%20", "%0d%0a"]), max_size=20),
        "positions": st.lists(st.integers(0, 300), max_size=20),
        "escaped": st.sampled_from(["", "+/=", "ABCDabcd0123+/="]),
        "is_padded": st.booleans(),
        "is_url_safe": st.booleans(),
        "before": st.sampled_from(
            ["", "image/png", "IMAGE/PNG;name=a.png", "application/octet-stream", " image/jpeg "]
        ),
        "mark": st.sampled_from([";base64", ";BASE64", "; base64 ", ";\nbase64"]),
        "after": st.sampled_from(["", "#fragment", "#"]),
    }
)


@given(st.binary(max_size=200), ways)
def test_every_way_in_which_browsers_take_base64_gives_what_was_encoded_within_the_same_limit(
    data: bytes, way: dict[str, Any]
) -> None:
    text = (base64.urlsafe_b64encode if way["is_url_safe"] else base64.b64encode)(data).decode()
    text = text if way["is_padded"] else text.rstrip("=")
    # Before anything is escaped: a blank inside an escape would make it none.
    text = spread(text, [unquote(blank) for blank in way["blanks"]], way["positions"])
    text = "".join(f"%{ord(sign):02x}" if sign in way["escaped"] or sign == "\f" else sign for sign in text)
    reference = f"data:{way['before']}{way['mark']},{text}{way['after']}"

    if len(data) <= 100:
        assert decode_data_url(reference, max_bytes=100) == data
    else:
        assert fault(reference) == ImageFault.TOO_MANY_BYTES


@given(st.binary(max_size=200), st.sampled_from(["image/png", "", "image/png;charset=utf-8"]))
def test_content_that_is_escaped_rather_than_in_base64_is_taken_within_the_same_limit(data: bytes, before: str) -> None:
    reference = f"data:{before},{quote(data)}"
    if len(data) <= 100:
        assert decode_data_url(reference, max_bytes=100) == data
    else:
        assert fault(reference) == ImageFault.TOO_MANY_BYTES


@pytest.mark.parametrize("media_type", ["text/html", "application/pdf", "text/plain;charset=image/png", "imag"])
def test_media_types_that_are_none_of_an_image_are_refused(media_type: str) -> None:
    assert fault(f"data:{media_type};base64,AAAA") == ImageFault.FORMAT_NOT_ALLOWED


@pytest.mark.parametrize("line", ["A" * 27, "A" * 26 + "\n", "A" * 18 + "%0D%0A" + "\r\n "])
def test_a_large_one_is_refused_before_it_is_decoded(line: str) -> None:
    reference = "data:image/png;base64," + line * 1_000_000
    tracemalloc.start()
    try:
        assert fault(reference, max_bytes=10_000_000) == ImageFault.TOO_MANY_BYTES
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_large_one_that_is_escaped_throughout_takes_memory_in_proportion() -> None:
    reference = "data:image/png;base64," + "%41" * 1_000_000
    tracemalloc.start()
    try:
        assert len(decode_data_url(reference, max_bytes=1_000_000)) == 750_000
        # Positions of the escapes are the largest part, eight bytes each; as pieces of text each would take fifty.
        assert tracemalloc.get_traced_memory()[1] < 15 * len(reference)
    finally:
        tracemalloc.stop()
