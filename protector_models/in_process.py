"""A synchronous model in this process behind the asynchronous port: it runs on threads, under a deadline."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from protector_models.deadlines import within
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.verdict import Assessment, ItemFailure


class SynchronousHarmDetector(Protocol):
    """A detector that computes on the thread that calls it. Several threads may call it at once."""

    @property
    def revision(self) -> str:
        """Its "name@revision": equal revisions give equal assessments."""

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange, whatever its neighbours are; same length and order."""


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
        self._threads = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="detector")

    @property
    def revision(self) -> str:
        """The revision of the model."""
        return self._model.revision

    async def assess(
        self, exchanges: Sequence[Exchange], *, timeout_s: float | None = None
    ) -> list[Assessment | ItemFailure]:
        """Score each exchange on a thread.

        A call that is late or cancelled while it waits for a thread is never computed; one that is being computed ends
        on its thread, and its result is dropped.

        Args:
            exchanges: what to score.
            timeout_s: how long this call may take, where that is not as long as usual.

        Raises:
            ModelUnavailableError: no result in time.
        """
        if not exchanges:
            return []
        loop = asyncio.get_running_loop()
        return await within(
            self._timeout_s if timeout_s is None else timeout_s,
            lambda: loop.run_in_executor(self._threads, self._model.assess, exchanges),
            waiting_for=self._model.revision,
        )

    def close(self) -> None:
        """Give the threads up without waiting for what they compute."""
        self._threads.shutdown(wait=False, cancel_futures=True)
