"""Work that takes as long as its input is large: little of it is done at once, much of it beside the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 200_000
"""Bytes or characters that are worked on at once. Of the worst input so many take 20 ms: an event loop that stands
still for longer misses heartbeats, and holds up everybody else."""


async def off_loop(size: int, work: Callable[[], T]) -> T:
    """Return what some work gives; where it is much, a thread does it, and the event loop goes on meanwhile.

    Args:
        size: bytes or characters of what is worked on.
        work: touches nothing that others change meanwhile.
    """
    return work() if size <= AT_ONCE else await asyncio.to_thread(work)
