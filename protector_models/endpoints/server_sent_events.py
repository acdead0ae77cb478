"""Server-sent events, as far as chat endpoints use them: the data of each event, in order."""

from collections.abc import AsyncIterable, AsyncIterator

from protector_models.moderation.errors import UnansweredError

MAX_EVENT_BYTES = 1 << 20
"""Of one event. What a chat endpoint sends at a time is a few words."""


async def read_events(chunks: AsyncIterable[bytes]) -> AsyncIterator[str]:
    """Yield the data of each event, its lines joined by newlines; events without data are passed over.

    Chunks may end anywhere, also within a character. What follows the last empty line is no event and is dropped.
    Lines end with a line feed, with or without a carriage return before it.

    Raises:
        UnansweredError: an event is longer than `MAX_EVENT_BYTES`.
    """
    data: list[bytes] = []
    async for line in _split_lines(chunks):
        if line.startswith(b"data:"):
            data.append(line.removeprefix(b"data:").removeprefix(b" "))
            if sum(map(len, data)) > MAX_EVENT_BYTES:
                raise _too_long()
        elif not line and data:
            yield b"\n".join(data).decode("utf-8", "replace")
            data = []


async def _split_lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    # By hand: httpx splits text, and in text also at the separators that JSON may hold within a string.
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
        if len(rest) > MAX_EVENT_BYTES:
            raise _too_long()


def _too_long() -> UnansweredError:
    return UnansweredError(f"InvalidAnswer: an event of more than {MAX_EVENT_BYTES} bytes")
