"""Both clients, called in the same way."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import httpx

from services.client.asynchronous import AsyncWeirClient
from services.client.synchronous import WeirClient

ADDRESS = "http://front"

Handler = Callable[[httpx.Request], httpx.Response]
"""What answers instead of a front."""


class OpensClient(Protocol):
    """Opens a client; its methods are called without await, whichever it is."""

    def __call__(
        self,
        base_url: str = ADDRESS,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        handler: Handler | None = None,
    ) -> Any:
        """Return a context manager of the client."""


@contextmanager
def open_synchronous(
    base_url: str = ADDRESS, *, api_key: str | None = None, timeout_s: float = 60.0, handler: Handler | None = None
) -> Iterator[WeirClient]:
    """Open the one that waits."""
    transport = None if handler is None else httpx.MockTransport(handler)
    with WeirClient(base_url, api_key, timeout_s, transport=transport) as client:
        yield client


@contextmanager
def open_asynchronous(
    base_url: str = ADDRESS, *, api_key: str | None = None, timeout_s: float = 60.0, handler: Handler | None = None
) -> Iterator[Any]:
    """Open the other one, on an event loop of its own."""
    transport = None if handler is None else httpx.MockTransport(handler)
    with asyncio.Runner() as runner:
        client = AsyncWeirClient(base_url, api_key, timeout_s, transport=transport)
        try:
            yield _Awaited(client, runner)
        finally:
            runner.run(client.close())


CLIENTS: tuple[OpensClient, ...] = (open_synchronous, open_asynchronous)


class _Awaited:
    """An asynchronous client whose methods return their results."""

    def __init__(self, client: AsyncWeirClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *arguments, **named: self._runner.run(method(*arguments, **named))
