"""Several callers at the same time, each with its next call as soon as the one before is answered."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from protector_models.moderation.errors import WeirError

WorkT = TypeVar("WorkT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast calls were answered."""

    per_s: float
    """Calls per second, of all callers together."""
    p50_ms: float
    """Half of the calls took no longer."""
    p99_ms: float


async def measure_pace(
    callers: Sequence[Callable[[WorkT], Awaitable[None]]], work: Iterator[WorkT], *, seconds: float
) -> Pace:
    """Have callers call for so long. Each calls once before, to warm up, and ends what it has begun.

    Args:
        callers: each makes a call with a piece of work.
        work: is endless.
        seconds: how long calls are begun.

    Raises:
        WeirError: what a call ended with.
    """
    took_s: list[float] = []

    async def go_on(call: Callable[[WorkT], Awaitable[None]], *, ends_at_s: float) -> None:
        while (began_s := time.perf_counter()) < ends_at_s:
            await call(next(work))
            took_s.append(time.perf_counter() - began_s)

    await _together([call(next(work)) for call in callers])
    started_s = time.perf_counter()
    await _together([go_on(call, ends_at_s=started_s + seconds) for call in callers])
    elapsed_s = time.perf_counter() - started_s
    return Pace(
        per_s=len(took_s) / elapsed_s,
        p50_ms=1_000 * statistics.median(took_s),
        p99_ms=1_000 * sorted(took_s)[max(0, -(-99 * len(took_s) // 100) - 1)],
    )


async def _together(calls: Sequence[Awaitable[None]]) -> None:
    """Wait for all of them; the first that fails ends the others."""

    async def wait_for(call: Awaitable[None]) -> None:
        await call

    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(wait_for(call))
    except* WeirError as errors:
        raise errors.exceptions[0] from errors
