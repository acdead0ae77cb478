"""Calls that a replica works on at the same time, and at times one that has the replica to itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from protector_models.moderation.errors import ModelUnavailableError
from protector_models.running.computations import Computations, note_computations, still_run


class OccupiedError(ModelUnavailableError):
    """Another call has the replica to itself, or waits for that. The same call may be made again in a moment."""


class Solitude:
    """Lets calls run together, or one alone: whatever ends the process then, or holds it up, is that one's doing.

    What a call computes on a thread may go on after the call, which was late or given up. Until that has ended nothing
    is begun beside it. Where it does not end, the process is ill, and ends.
    """

    def __init__(self) -> None:
        self._num_together = 0
        self._is_taken = False
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._left_behind: Computations = []

    @asynccontextmanager
    async def enter(self, *, alone: bool) -> AsyncIterator[None]:
        """Run what is inside; a call that is to be alone waits until those before it have ended.

        Raises:
            OccupiedError: another call is to be alone, or has left something behind on a thread. Nobody waits for that:
                it may take the process with it.
        """
        if self._is_taken:
            raise OccupiedError("the replica works on one call alone: expected to be asked again")
        self._require_nothing_left()
        with note_computations() as computations:
            try:
                async with self._alone() if alone else self._together():
                    yield
            finally:
                self._left_behind = still_run([*self._left_behind, *computations])

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        self._is_taken = True
        try:
            await self._is_idle.wait()
            self._require_nothing_left()
            yield
        finally:
            self._is_taken = False

    @asynccontextmanager
    async def _together(self) -> AsyncIterator[None]:
        self._num_together += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._num_together -= 1
            if self._num_together == 0:
                self._is_idle.set()

    def _require_nothing_left(self) -> None:
        if still_run(self._left_behind):
            raise OccupiedError("the replica still computes what nobody waits for: expected to be asked again")
