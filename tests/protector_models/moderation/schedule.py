"""A schedule decides which of those that wait goes on next: fakes of the ports whose every call waits for it."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TypeVar

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.fakes import (
    FakeDetoxifier,
    FakeGenerator,
    FakeHarmDetector,
    FakeImageReader,
    FakeImageSource,
)
from protector_models.moderation.images import ImageContent, ImageReading
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.ports import Answer, RewriteRequest

T = TypeVar("T")

_SETTLING_STEPS = 8
"""Turns of the event loop until everything that was let go on waits again."""


class Schedule:
    """Lets what waits go on one at a time, in an order that is given beforehand."""

    def __init__(self, choices: Sequence[int]) -> None:
        """Make a schedule.

        Args:
            choices: at each step, which of those that wait goes on; the longest waiting one when they are used up.
        """
        self._choices = list(choices)
        self._waiting: list[asyncio.Future[None]] = []

    async def turn(self) -> None:
        """Wait until it is the caller's turn."""
        waits = asyncio.get_running_loop().create_future()
        self._waiting.append(waits)
        await waits

    async def run(self, *parts: Coroutine[object, object, T]) -> list[T]:
        """Run all parts to their end, in turns; return what they give, in order."""
        tasks = [asyncio.create_task(part) for part in parts]
        while not all(task.done() for task in tasks):
            for _ in range(_SETTLING_STEPS):
                await asyncio.sleep(0)
            self._waiting = [waits for waits in self._waiting if not waits.done()]
            if self._waiting:
                choice = self._choices.pop(0) if self._choices else 0
                self._waiting.pop(choice % len(self._waiting)).set_result(None)
        return [task.result() for task in tasks]


class ScheduledCache(MemoryVerdictCache):
    """Waits before it looks up and before it stores."""

    def __init__(self, schedule: Schedule, *, max_entries: int) -> None:
        super().__init__(max_entries=max_entries)
        self._schedule = schedule

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Look up when it is its turn, and answer when it is again."""
        await self._schedule.turn()
        found = await super().get_many(keys)
        await self._schedule.turn()
        return found

    async def put_many(self, values: Mapping[str, bytes], *, ttl_s: int | None = None) -> None:
        """Store when it is its turn."""
        await self._schedule.turn()
        await super().put_many(values, ttl_s=ttl_s)


class ScheduledDetector(FakeHarmDetector):
    """Waits before it scores and before it answers."""

    def __init__(self, schedule: Schedule, *, max_characters: int | None = None) -> None:
        super().__init__(max_characters=max_characters)
        self._schedule = schedule

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score when it is its turn."""
        await self._schedule.turn()
        outcomes = await super().assess(exchanges)
        await self._schedule.turn()
        return outcomes


class ScheduledDetoxifier(FakeDetoxifier):
    """Waits before it writes."""

    def __init__(self, schedule: Schedule, write: Callable[[RewriteRequest], str]) -> None:
        super().__init__(write)
        self._schedule = schedule

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Write when it is its turn."""
        await self._schedule.turn()
        return await super().rewrite(requests)


class ScheduledGenerator(FakeGenerator):
    """Waits before it answers."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule

    async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
        """Answer when it is its turn."""
        await self._schedule.turn()
        return await super().generate(events)


class ScheduledSource(FakeImageSource):
    """Waits before it fetches."""

    def __init__(self, schedule: Schedule, contents: Mapping[str, bytes]) -> None:
        super().__init__(contents)
        self._schedule = schedule

    async def fetch(self, references: Sequence[str]) -> list[ImageContent | ItemFailure]:
        """Fetch when it is its turn."""
        await self._schedule.turn()
        return await super().fetch(references)


class ScheduledReader(FakeImageReader):
    """Waits before it reads and before it answers."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        """Read when it is its turn."""
        await self._schedule.turn()
        outcomes = await super().read(contents)
        await self._schedule.turn()
        return outcomes
