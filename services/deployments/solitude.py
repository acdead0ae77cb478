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

    What a call computes on a thread may go on after the call, which was late or given up. Nothing is alone before that
    has ended; and where it was to be alone itself, nothing else runs.
    """

    def __init__(self) -> None:
        self._num_together = 0
        self._is_taken = False
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._left_together: Computations = []
        """What calls that ran together have left behind on threads."""
        self._left_alone: Computations = []
        """The same of the last call that was alone."""

    @asynccontextmanager
    async def enter(self, *, alone: bool) -> AsyncIterator[None]:
        """Run what is inside; a call that is to be alone waits until those before it have ended.

        Raises:
            OccupiedError: another call is to be alone, or has left something behind. Nobody waits for that: it may take
                the process with it.
        """
        if self._is_taken or still_run(self._left_alone):
            raise OccupiedError("the replica works on one call alone: expected to be asked again")
        with note_computations() as computations:
            if alone:
                self._is_taken = True
                try:
                    self._require_nothing_left()
                    await self._is_idle.wait()
                    self._require_nothing_left()
                    yield
                finally:
                    self._is_taken = False
                    self._left_alone = computations
                return
            self._num_together += 1
            self._is_idle.clear()
            try:
                yield
            finally:
                self._left_together = still_run([*self._left_together, *computations])
                self._num_together -= 1
                if self._num_together == 0:
                    self._is_idle.set()

    def _require_nothing_left(self) -> None:
        if still_run(self._left_together):
            raise OccupiedError("the replica still computes what nobody waits for: expected to be asked again")
