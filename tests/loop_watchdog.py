"""Finds what holds an event loop up: callbacks that use more of the CPU at once than they should."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

BLOCKING_S = 0.05
"""As `slow_callback_duration` of asyncio's debug mode, but in seconds of the CPU: on a machine that does other things
as well, a callback that does little may take a second by the clock."""


@contextmanager
def watch_callbacks() -> Iterator[list[float]]:
    """Gather the seconds of callbacks that used more of the CPU than `BLOCKING_S`."""
    slow: list[float] = []
    run = asyncio.Handle._run

    def watched(handle: asyncio.Handle) -> None:
        began_s = time.thread_time()
        run(handle)
        taken_s = time.thread_time() - began_s
        if taken_s >= BLOCKING_S:
            slow.append(taken_s)

    asyncio.Handle._run = watched  # type: ignore[method-assign, assignment]  # what asyncio itself measures in debug mode
    try:
        yield slow
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
