"""A synchronous model in this process behind the asynchronous port: it runs on threads, under a deadline."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.running.deadlines import within_turn
from protector_models.running.model_health import ModelHealth
from protector_models.running.split_runs import run_or_split

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


_WAIT_BEHIND_CALLS_S = 5.0
"""How long a check waits for its turn: well within what Serve gives it."""


class SynchronousHarmDetector(Protocol):
    """A detector that computes on the thread that calls it. Several threads may call it at once."""

    @property
    def revision(self) -> str:
        """Its "name@revision": equal revisions give equal assessments."""

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange, whatever its neighbours are; same length and order."""


class ModelThreads:
    """Threads for the calls of one model.

    A call that is cancelled while it waits for a thread is never computed; one that is late or cancelled while it is
    being computed ends on its thread, and its result is dropped.
    """

    def __init__(self, name: str, *, num_threads: int) -> None:
        """Take threads as they are needed.

        Args:
            name: what the threads are called.
            num_threads: how many calls compute at the same time; further ones wait.
        """
        self._threads = ThreadPoolExecutor(max_workers=num_threads, thread_name_prefix=name)
        self._health = ModelHealth()

    async def run(
        self,
        compute: Callable[[Sequence[ItemT]], list[ResultT]],
        items: Sequence[ItemT],
        *,
        timeout_s: float,
        waiting_for: str,
    ) -> list[ResultT | ItemFailure]:
        """Compute on a thread; nothing is computed for no items.

        Args:
            compute: called with the items; where an engine raises on them, with each alone.
            items: what to compute.
            timeout_s: how long it may take from its turn on. The wait for a free thread ends where what has them does
                not end; else whoever calls bounds it.
            waiting_for: the model, for the message.

        Raises:
            LateError: no result in time.
            DeviceMemoryError: the memory does not suffice.
            DeviceFailedError: the device failed.
            ModelUnavailableError: it had failed before, or another computation does not end.
        """
        if not items:
            return []
        self._health.require_hope(waiting_for)

        def work() -> list[ResultT | ItemFailure]:
            with self._health.computing(allowed_s=timeout_s):
                outcomes = run_or_split(items, compute, revision=waiting_for)
            self._health.take_note(outcomes)
            return outcomes

        return await within_turn(
            timeout_s,
            work,
            self._threads,
            waiting_for=waiting_for,
            require_hope=partial(self._health.require_hope, waiting_for),
        )

    async def try_out(
        self,
        compute: Callable[[Sequence[ItemT]], list[ResultT]],
        items: Sequence[ItemT],
        *,
        timeout_s: float,
        waiting_for: str,
    ) -> list[ResultT | ItemFailure]:
        """Compute items of ours for a health check, unless calls tell that the model is well: then return none.

        It was well lately, or is computing within its time and there is no thread free: a long queue is no illness.

        Args:
            compute: as in `run`.
            items: short ones.
            timeout_s: how long it may take, waiting for a free thread included; less where that is behind calls.
            waiting_for: the model, for the message.

        Raises:
            ModelUnavailableError: as in `run`, or something that is computed does not end.
        """
        if self._health.was_well_lately():
            self._health.require_hope(waiting_for)
            return []
        outcomes: list[ResultT | ItemFailure] = []
        if self._health.is_computing():
            timeout_s = min(timeout_s, _WAIT_BEHIND_CALLS_S)
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                outcomes = await self.run(compute, items, timeout_s=timeout_s, waiting_for=waiting_for)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            self._health.require_hope(waiting_for)
            if not self._health.was_well_lately() and not self._health.is_computing():
                raise ModelUnavailableError(f"{waiting_for}: no result within {timeout_s:g} s") from error
        return outcomes

    def close(self) -> None:
        """Give the threads up without waiting for what they compute."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class InProcessHarmDetector:
    """Runs a synchronous detector on threads of its own. Implements `HarmDetector`."""

    def __init__(self, model: SynchronousHarmDetector, *, timeout_s: float, concurrency: int = 1) -> None:
        """Wrap a loaded model.

        Args:
            model: the detector.
            timeout_s: how long a call may take once a thread has taken it.
            concurrency: how many calls compute at the same time; further ones wait.
        """
        self._model = model
        self._timeout_s = timeout_s
        self._threads = ModelThreads("detector", num_threads=concurrency)

    @property
    def revision(self) -> str:
        """The revision of the model."""
        return self._model.revision

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange on a thread.

        Raises:
            ModelUnavailableError: no result in time, or the device failed.
        """
        return await self._threads.run(
            self._model.assess, exchanges, timeout_s=self._timeout_s, waiting_for=self._model.revision
        )

    async def try_out(self, exchanges: Sequence[Exchange], *, timeout_s: float) -> list[Assessment | ItemFailure]:
        """Score exchanges of ours for a health check, unless calls tell that the model is well; see `ModelThreads`.

        Raises:
            ModelUnavailableError: it is not.
        """
        return await self._threads.try_out(
            self._model.assess, exchanges, timeout_s=timeout_s, waiting_for=self._model.revision
        )

    def close(self) -> None:
        """Give the threads up without waiting for what they compute."""
        self._threads.close()
