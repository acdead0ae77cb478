"""Ctrl-C while a command waits for input."""

import signal
from collections.abc import Iterator
from typing import TypeVar

BatchT = TypeVar("BatchT")

EXIT_INTERRUPTED = 130


def read_interruptibly(batches: Iterator[BatchT]) -> Iterator[BatchT]:
    """Let Ctrl-C end a read that waits: asyncio only cancels its task, which would not learn of it before the read."""
    handler = signal.getsignal(signal.SIGINT)
    while True:
        if callable(handler):  # not where the signal is ignored, as in the background
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            batch = next(batches, None)
        finally:
            signal.signal(signal.SIGINT, handler)
        if batch is None:
            return
        yield batch
