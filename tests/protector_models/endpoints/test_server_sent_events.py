"""Tests of `server_sent_events`."""

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.endpoints.server_sent_events import MAX_EVENT_BYTES, read_events
from protector_models.moderation.errors import UnansweredError


async def arrive(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def events_in(*chunks: bytes) -> list[str]:
    return [event async for event in read_events(arrive(chunks))]


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1)),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.lists(st.integers(0, 200)),
)
async def test_events_are_the_same_wherever_chunks_end(texts: list[str], line_end: bytes, cuts: list[int]) -> None:
    body = b"".join(b"data: " + text.encode() + 2 * line_end for text in texts)
    limits = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[start:end] for start, end in pairwise(limits)]
    assert await events_in(*chunks) == texts


async def test_comments_and_other_fields_are_passed_over() -> None:
    assert await events_in(b": still here\n\nevent: note\nid: 1\ndata: a\nretry: 5\n\n\n\n") == ["a"]


async def test_the_lines_of_an_event_are_joined() -> None:
    assert await events_in(b"data: a\ndata:b\ndata:  c\n\n") == ["a\nb\n c"]


async def test_separators_that_json_may_hold_end_no_line() -> None:
    assert await events_in("data: a\u2028b\x85c\x0bd\n\n".encode()) == ["a\u2028b\x85c\x0bd"]


async def test_an_event_that_does_not_end_is_none() -> None:
    assert await events_in(b"data: a\n\ndata: b\n") == ["a"]


@pytest.mark.parametrize("piece", [b"x" * 4096, b"data: " + b"x" * 4096 + b"\n"], ids=["one line", "many lines"])
async def test_an_event_without_end_fills_no_memory(piece: bytes) -> None:
    read = 0

    async def flow() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += len(piece)
            yield piece

    with pytest.raises(UnansweredError, match="an event of more than"):
        [event async for event in read_events(flow())]
    assert read < 2 * MAX_EVENT_BYTES
