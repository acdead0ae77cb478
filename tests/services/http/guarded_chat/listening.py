"""Streams of guarded chat as their readers see them: the application called as a server does, event by event."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message

ROUTE = "/v1/chat/completions"
USER = [{"role": "user", "content": "How do I get home?"}]


@dataclass(kw_only=True)
class Heard:
    """What came of one answer so far."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_over: bool = False
    """Whether the server has said that nothing more comes."""

    @property
    def events(self) -> list[Any]:
        """The data of each event, "[DONE]" as it is."""
        lines = [event for event in self.body.decode().split("\n\n") if event.startswith("data: ")]
        return [line if line == "data: [DONE]" else json.loads(line.removeprefix("data: ")) for line in lines]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The chunks."""
        return [event for event in self.events if isinstance(event, dict) and "error" not in event]

    @property
    def error(self) -> dict[str, Any] | None:
        """The error that was the last event."""
        last = self.events[-1]
        found: dict[str, Any] | None = last.get("error") if isinstance(last, dict) else None
        return found

    def deltas(self, index: int = 0) -> list[dict[str, Any]]:
        """The deltas of an answer."""
        return [choice["delta"] for chunk in self.chunks for choice in chunk["choices"] if choice["index"] == index]

    def text(self, index: int = 0, name: str = "content") -> str:
        """What an answer said."""
        return "".join(delta.get(name) or "" for delta in self.deltas(index))

    def reasons(self, index: int = 0) -> list[str]:
        """Why an answer ended."""
        found = [choice for chunk in self.chunks for choice in chunk["choices"] if choice["index"] == index]
        return [choice["finish_reason"] for choice in found if choice["finish_reason"] is not None]

    def told(self) -> dict[str, Any]:
        """What was judged."""
        [found] = [chunk["moderation"] for chunk in self.chunks if "moderation" in chunk]
        return dict(found)


class Listener:
    """Calls an application as a server does: it hands over each part as it comes, and may hang up."""

    def __init__(self, app: ASGIApp, *, on_part: Callable[[Heard], None] = lambda _: None) -> None:
        """Prepare a call.

        Args:
            app: the application.
            on_part: looks at what was heard, after each part.
        """
        self._app = app
        self._on_part = on_part
        self.heard = Heard()
        self.has_hung_up = asyncio.Event()
        self.may_read = asyncio.Event()
        """Nothing is taken while it is not set."""
        self.may_read.set()

    async def post(self, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Heard:
        """Ask, and listen until the end."""
        content = json.dumps(body).encode()
        named = {"host": "front", "content-type": "application/json", **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": ROUTE,
            "raw_path": ROUTE.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            "client": ("127.0.0.1", 50_000),
            "server": ("front", 80),
        }
        messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await self.has_hung_up.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            await self.may_read.wait()
            if message["type"] == "http.response.start":
                self.heard.status = message["status"]
                self.heard.headers = {name.decode(): value.decode() for name, value in message["headers"]}
                return
            self.heard.body += message.get("body", b"")
            self.heard.is_over = not message.get("more_body", False)
            self._on_part(self.heard)

        await self._app(scope, receive, send)
        return self.heard


async def listen(app: ASGIApp, *, headers: Mapping[str, str] | None = None, **more: object) -> Heard:
    """Have a chat answered as a stream, and listen until the end."""
    return await Listener(app).post({"messages": USER, "stream": True, **more}, headers)


@asynccontextmanager
async def listening(
    app: ASGIApp, headers: Mapping[str, str] | None = None, **more: object
) -> AsyncGenerator[Listener, None]:
    """Listen to a stream beside what the block does; afterwards the answer has ended."""
    listener = Listener(app)
    task = asyncio.ensure_future(listener.post({"messages": USER, "stream": True, **more}, headers))
    try:
        yield listener
    finally:
        await asyncio.wait_for(task, timeout=10)
