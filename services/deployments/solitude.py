"""Calls that a replica works on at the same time, and at times one that has the replica to itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from protector_models.moderation.errors import ModelUnavailableError


class OccupiedError(ModelUnavailableError):
    """Another call has the replica to itself, or waits for that. The same call may be made again in a moment."""


class Solitude:
    """Lets calls run together, or one alone: whatever ends the process then, or holds it up, is that one's doing."""

    def __init__(self) -> None:
        self._num_together = 0
        self._is_taken = False
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @asynccontextmanager
    async def enter(self, *, alone: bool) -> AsyncIterator[None]:
        """Run what is inside; a call that is to be alone waits until those before it have ended.

        Raises:
            OccupiedError: another call is to be alone. Nobody waits for that: it may take the process with it.
        """
        if self._is_taken:
            raise OccupiedError("the replica works on one call alone: expected to be asked again")
        if alone:
            self._is_taken = True
            try:
                await self._is_idle.wait()
                yield
            finally:
                self._is_taken = False
            return
        self._num_together += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._num_together -= 1
            if self._num_together == 0:
                self._is_idle.set()
