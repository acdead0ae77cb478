"""A synchronous model in this process behind the asynchronous port: it runs on threads, under a deadline."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from protector_models.deadlines import within
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.verdict import Assessment, ItemFailure

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class SynchronousHarmDetector(Protocol):
    """A detector that computes on the thread that calls it. Several threads may call it at once."""

    @property
    def revision(self) -> str:
        """Its "name@revision": equal revisions give equal assessments."""

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange, whatever its neighbours are; same length and order."""


class ModelThreads:
    """Threads for the calls of one model.

    A call that is late or cancelled while it waits for a thread is never computed; one that is being computed ends on
    its thread, and its result is dropped.
    """

    def __init__(self, name: str, *, num_threads: int) -> None:
        """Take threads as they are needed.

        Args:
            name: what the threads are called.
            num_threads: how many calls compute at the same time; further ones wait.
        """
        self._threads = ThreadPoolExecutor(max_workers=num_threads, thread_name_prefix=name)

    async def run(
        self,
        compute: Callable[[Sequence[ItemT]], list[ResultT]],
        items: Sequence[ItemT],
        *,
        timeout_s: float,
        waiting_for: str,
    ) -> list[ResultT]:
        """Compute on a thread; nothing is computed for no items.

        Args:
            compute: called with the items.
            items: what to compute.
            timeout_s: how long it may take, waiting for a free thread included.
            waiting_for: the model, for the message.

        Raises:
            ModelUnavailableError: no result in time.
        """
        if not items:
            return []
        loop = asyncio.get_running_loop()
        return await within(
            timeout_s, lambda: loop.run_in_executor(self._threads, compute, items), waiting_for=waiting_for
        )

    def close(self) -> None:
        """Give the threads up without waiting for what they compute."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class InProcessHarmDetector:
    """Runs a synchronous detector on threads of its own. Implements `HarmDetector`."""

    def __init__(self, model: SynchronousHarmDetector, *, timeout_s: float, concurrency: int = 1) -> None:
        """Wrap a loaded model.

        Args:
            model: the detector.
            timeout_s: how long a call may take, waiting for a free thread included.
            concurrency: how many calls compute at the same time; further ones wait.
        """
        self._model = model
        self._timeout_s = timeout_s
        self._threads = ModelThreads("detector", num_threads=concurrency)

    @property
    def revision(self) -> str:
        """The revision of the model."""
        return self._model.revision

    async def assess(
        self, exchanges: Sequence[Exchange], *, timeout_s: float | None = None
    ) -> list[Assessment | ItemFailure]:
        """Score each exchange on a thread.

        Args:
            exchanges: what to score.
            timeout_s: how long this call may take, where that is not as long as usual.

        Raises:
            ModelUnavailableError: no result in time.
        """
        return await self._threads.run(
            self._model.assess,
            exchanges,
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
            waiting_for=self._model.revision,
        )

    def close(self) -> None:
        """Give the threads up without waiting for what they compute."""
        self._threads.close()
