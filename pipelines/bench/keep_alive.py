"""An HTTP connection that asks one thing after the other, and does as little as may be.

It runs on the machine that is measured: what a client with more in it takes away, the server would seem to lack.
"""

import asyncio
from dataclasses import dataclass
from typing import Self

from pipelines.bench.stream_events import BenchmarkError

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server answers."""

    status: int
    body: bytes


class KeepAliveConnection:
    """A connection to a server that gives the length of each of its answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, timeout_s: float) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout_s = timeout_s

    @classmethod
    async def open(cls, host: str, port: int, *, timeout_s: float) -> Self:
        """Connect.

        Raises:
            OSError: nobody listens.
        """
        reader, writer = await asyncio.open_connection(host, port)
        return cls(reader, writer, timeout_s=timeout_s)

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send a request, and return its answer.

        Raises:
            BenchmarkError: the server hung up, said something else, or took too long.
        """
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                self._writer.write(head.encode() + body)
                answered = await self._reader.readuntil(_HEAD_END)
                status = int(answered.split(b" ", 2)[1])
                return Answer(status=status, body=await self._reader.readexactly(_length_of(answered)))
        except TimeoutError:
            raise BenchmarkError(f"{path}: no answer within {self._timeout_s:g} s") from None
        except (asyncio.IncompleteReadError, OSError, ValueError, IndexError) as error:
            raise BenchmarkError(f"{path}: expected an answer, got {type(error).__name__}") from error

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:  # the server was first
            return


def _length_of(head: bytes) -> int:
    lines = (line for line in head.split(b"\r\n") if line[: len(_LENGTH)].lower() == _LENGTH)
    return int(next(lines, _LENGTH)[len(_LENGTH) :])
