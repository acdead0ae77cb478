"""Turns: how many micro-batches are worked at at the same time, each cut when its turn comes."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pipelines.streaming.lanes import Entry
from protector_models.moderation.errors import ModelUnavailableError

Take = Callable[[], list[Entry]]
"""Gives what a turn that is free works at; nothing where there is nothing to do."""
Work = Callable[[Sequence[Entry]], Coroutine[Any, Any, None]]
"""Works at entries. What it raises is the fate of all of them."""


class Turns:
    """Works at a bounded number of micro-batches. What waits meanwhile is cut only when a turn is free.

    So a turn takes as much as has come by then: after a trickle as in a flood.
    """

    def __init__(self, *, num_turns: int, take: Take, work: Work) -> None:
        """Begin with all turns free.

        Args:
            num_turns: at least 1.
            take: is asked whenever a turn is free.
            work: see there. What it raises is noted at its entries.
        """
        self._num_turns = num_turns
        self._take = take
        self._work = work
        self._running: dict[asyncio.Task[None], Sequence[Entry]] = {}

    def fill(self) -> None:
        """Begin what there is to do, as far as turns are free. To be called whenever something new waits."""
        while len(self._running) < self._num_turns and (entries := self._take()):
            task = asyncio.create_task(self._work(entries))
            self._running[task] = entries
            task.add_done_callback(self._end)

    def cancel_unwanted(self) -> None:
        """Cancel work of which nobody wants any result."""
        for task, entries in self._running.items():
            if not any(entry.is_wanted for entry in entries):
                task.cancel()

    def _end(self, task: asyncio.Task[None]) -> None:
        entries = self._running.pop(task)
        if task.cancelled():
            # Nobody but us may do this, and then nobody looks: a library that does must not leave records behind.
            error: BaseException | None = ModelUnavailableError("the work at a batch was cancelled from within")
        else:
            error = task.exception()
        if error is not None:
            for entry in entries:
                entry.error = error
        self.fill()
