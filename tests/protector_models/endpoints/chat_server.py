"""A chat endpoint on loopback that answers by script and remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the endpoint answers."""

    status: int = 200
    body: str | Mapping[str, object] = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0
    pieces: Sequence[bytes] | None = None
    """In place of a body: sent one after the other."""
    ending: Literal["whole", "cut", "silent"] = "whole"
    """What comes after the pieces. `cut`: the connection ends as if the endpoint had died. `silent`: nothing, ever."""


def stream(*deltas: Mapping[str, object], done: bool = True) -> Reply:
    """Build the reply of a model whose answer comes piece by piece."""
    chunks = [b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n" for delta in deltas]
    return Reply(pieces=[*chunks, b"data: [DONE]\n\n"] if done else chunks)


def answer(content: object, **message: object) -> Reply:
    """Build the reply of a model that answers."""
    return Reply(body={"choices": [{"message": {"role": "assistant", "content": content, **message}}]})


BUSY = Reply(status=429, headers={"Retry-After": "0"})


@dataclass
class ChatServer:
    """Answers request number n, and whatever is in it, by what a function says."""

    reply: Callable[[int, dict[str, Any]], Reply]
    base_url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    arrivals: "asyncio.Queue[None]" = field(default_factory=asyncio.Queue)
    """One item for each request that came."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """No reply is sent before it is set."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.json()
        number = len(self.bodies)
        self.bodies.append(body)
        self.keys.append(request.headers.get("Authorization"))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.arrivals.put_nowait(None)
        await self.gate.wait()
        self.at_once -= 1
        reply = self.reply(number, body)
        await asyncio.sleep(reply.delay_s)
        if reply.pieces is not None:
            return await self._send_pieces(request, reply)
        if isinstance(reply.body, str):
            return web.Response(status=reply.status, text=reply.body, headers=reply.headers)
        return web.json_response(reply.body, status=reply.status, headers=reply.headers)

    async def _send_pieces(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in reply.pieces or ():
            await response.write(piece)
        if reply.ending == "silent":
            await asyncio.Event().wait()
        if reply.ending == "cut":
            # Whoever reads has all the pieces, but not the end of the body.
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write_eof()
        return response


@asynccontextmanager
async def open_chat_server(
    reply: Callable[[int, dict[str, Any]], Reply], *, silent: bool = False
) -> AsyncIterator[ChatServer]:
    """Run an endpoint on a free port.

    Args:
        reply: what to answer, by the number of the request and its body.
        silent: answer nothing until `gate` is set.
    """
    server = ChatServer(reply)
    if not silent:
        server.gate.set()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.base_url = f"http://{host}:{port}/v1"
    try:
        yield server
    finally:
        server.gate.set()
        await runner.cleanup()
