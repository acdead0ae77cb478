"""A chat endpoint for commands that have an event loop of their own: it is served from another thread."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tests.protector_models.endpoints.chat_server import ChatServer, Reply, open_chat_server

_TIMEOUT_S = 10.0


@contextmanager
def serve_chat(reply: Callable[[int, dict[str, Any]], Reply]) -> Iterator[ChatServer]:
    """Serve what `open_chat_server` makes until the block ends."""
    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(1) as thread:
        serving = thread.submit(loop.run_forever)
        opening = open_chat_server(reply)
        try:
            yield asyncio.run_coroutine_threadsafe(opening.__aenter__(), loop).result(_TIMEOUT_S)
        finally:
            asyncio.run_coroutine_threadsafe(opening.__aexit__(None, None, None), loop).result(_TIMEOUT_S)
            loop.call_soon_threadsafe(loop.stop)
            serving.result(_TIMEOUT_S)
            loop.close()
