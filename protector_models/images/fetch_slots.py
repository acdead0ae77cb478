"""Slots for fetching: how many images at the same time, over all and from one host."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class FetchSlots:
    """Hands out turns. A host that hangs keeps its own images waiting, and not those of others."""

    def __init__(self, *, total: int, per_host: int) -> None:
        """Make the slots.

        Args:
            total: turns at the same time.
            per_host: those of them for one host.
        """
        self._total = asyncio.Semaphore(total)
        self._per_host = per_host
        # A host is forgotten when nobody fetches from it: anybody may name new ones.
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Wait for a turn and keep it."""
        host_slots = self._hosts.setdefault(host, asyncio.Semaphore(self._per_host))
        # The host's first: who waits for a busy host must not hold a turn that others could have.
        async with host_slots, self._total:
            yield
