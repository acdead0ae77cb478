"""An answer that is sent while it is made: kept alive while nothing goes out, ended in time or with its reader."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.http.deadlines import give_up
from services.http.door import Visit
from services.http.guarded_chat.chat_events import ChatEvents
from services.http.refusals import RefusedRequestError

EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "data": {"type": "string", "description": "A chat.completion.chunk or an error, in JSON; [DONE] at the end."}
    },
    "required": ["data"],
}
"""What an event is to programs that read `/openapi.json`."""
_KEEP_ALIVE = b": keep-alive\n\n"
_LAST_WORDS_S = 5.0
"""How long a reader may take for the last events: what came before has to be read first."""


class EventStream(Response):
    """Sends the events of a chat."""

    media_type = "text/event-stream"

    def __init__(self, events: ChatEvents, visit: Visit, *, keep_alive_s: float, leaving: AsyncExitStack) -> None:
        """Put the answer together; nothing is sent.

        Args:
            events: a stream that has begun.
            visit: who waits for it.
            keep_alive_s: after so long without an event a comment goes out, which readers pass over.
            leaving: closed when the answer ends, however it ends.
        """
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._visit = visit
        self._keep_alive_s = keep_alive_s
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  (the visit listens)
        """Send the answer, until its end or that of its reader."""
        async with self._leaving:
            gone = asyncio.ensure_future(self._visit.wait_until_gone())
            sending = asyncio.ensure_future(self._send(send))
            try:
                await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
                is_sent = sending.done()
                if is_sent:
                    sending.result()
            finally:
                await give_up(gone, sending)
                await self._events.close()
                scope["state"]["code"] = "" if self._events.end in {"done", "client_gone"} else self._events.end
        if is_sent:
            # Not before: whoever has read to the end may come again at once, and needs a place.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await send({"type": "http.response.body", "body": self._events.last, "more_body": False})

    async def _send(self, send: Send) -> None:
        """Send all but the last events."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with (
                asyncio.timeout_at(self._visit.streams_until_s),
                aclosing(self._events.run()) as events,
                aclosing(_kept_alive(events, every_s=self._keep_alive_s)) as sent,
            ):
                async for event in sent:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        except TimeoutError:
            late = RefusedRequestError("deadline_passed", "the answer was not finished within the time of the request")
            self._events.break_off(late)


async def _kept_alive(events: AsyncGenerator[bytes, None], *, every_s: float) -> AsyncGenerator[bytes, None]:
    """Yield events, and a comment whenever none has come for some time."""
    waiting: asyncio.Future[bytes | None] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events, None))
            await asyncio.wait({waiting}, timeout=every_s)
            if not waiting.done():
                yield _KEEP_ALIVE
                continue
            event, waiting = waiting.result(), None
            if event is None:
                return
            yield event
    finally:
        if waiting is not None:
            await give_up(waiting)
