"""The connection that a benchmark asks a server through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pipelines.bench.keep_alive import KeepAliveConnection
from pipelines.bench.stream_events import BenchmarkError
from tests.services.http.front import Front
from tests.services.http.served import serving


@asynccontextmanager
async def saying(*answers: bytes) -> AsyncIterator[int]:
    """Serve one answer after the other on each connection, whatever is asked, and then hang up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_requests_are_answered_one_after_the_other() -> None:
    with serving(Front().app) as address:
        connection = await KeepAliveConnection.open("127.0.0.1", int(address.rsplit(":", 1)[1]), timeout_s=30)
        first = await connection.ask("POST", "/v1/moderations", b'{"input": ["fine", "harm=0.9"]}')
        second = await connection.ask("POST", "/v1/moderations", b"{")
        third = await connection.ask("GET", "/readyz")
        await connection.close()
    assert (first.status, second.status, third.status) == (200, 400, 200)
    assert first.body.count(b'"flagged":') == 2
    assert third.body == b'{"status":"ready"}'


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfour",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"nothing\r\n\r\n",
    ],
)
async def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    async with saying(answer) as port:
        connection = await KeepAliveConnection.open("127.0.0.1", port, timeout_s=30)
        with pytest.raises(BenchmarkError, match=r"/readyz: expected an answer, got \w+Error"):
            await connection.ask("GET", "/readyz")
        await connection.close()


async def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    async with saying(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b"") as port:
        connection = await KeepAliveConnection.open("127.0.0.1", port, timeout_s=0.05)
        with pytest.raises(BenchmarkError, match=r"no answer within 0\.05 s"):
            await connection.ask("GET", "/readyz")
        await connection.close()
