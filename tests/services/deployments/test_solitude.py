"""Calls that run together, and one that runs alone."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from protector_models.moderation.errors import LateError
from protector_models.running.deadlines import within_turn
from services.deployments.solitude import OccupiedError, Solitude


class _Calls:
    """Calls to a replica, which end when they are told to."""

    def __init__(self) -> None:
        self._solitude = Solitude()
        self.running: list[str] = []

    async def call(self, name: str, end: asyncio.Event, *, alone: bool = False) -> None:
        async with self._solitude.enter(alone=alone):
            self.running.append(name)
            try:
                await end.wait()
            finally:
                self.running.remove(name)


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_calls_run_together() -> None:
    calls, end = _Calls(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(calls.call("one", end))
        group.create_task(calls.call("two", end))
        await _settle()
        assert calls.running == ["one", "two"]
        end.set()


async def test_a_call_alone_waits_for_those_before_it_and_all_others_are_refused() -> None:
    calls, first, last = _Calls(), asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(calls.call("one", first))
        await _settle()
        group.create_task(calls.call("alone", last, alone=True))
        await _settle()
        for alone in (False, True):
            with pytest.raises(OccupiedError):
                await calls.call("late", last, alone=alone)
        assert calls.running == ["one"]
        first.set()
        await _settle()
        assert calls.running == ["alone"]
        with pytest.raises(OccupiedError):
            await calls.call("late", last)
        last.set()
    await calls.call("next", last)


async def test_a_call_that_is_given_up_while_it_waits_to_be_alone_leaves_the_replica_to_others() -> None:
    calls, end = _Calls(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(calls.call("one", end))
        await _settle()
        waiting = group.create_task(calls.call("alone", end, alone=True))
        await _settle()
        waiting.cancel()
        await _settle()
        group.create_task(calls.call("two", end))
        await _settle()
        assert calls.running == ["one", "two"]
        end.set()


class _Threads:
    """Calls that compute on threads until they are released."""

    def __init__(self) -> None:
        self._solitude = Solitude()
        self._threads = ThreadPoolExecutor(2)
        self.released = threading.Event()

    async def call(self, *, alone: bool = False, timeout_s: float = 60.0) -> None:
        async with self._solitude.enter(alone=alone), asyncio.TaskGroup() as group:
            group.create_task(within_turn(timeout_s, self.released.wait, self._threads, waiting_for="a release"))

    async def leave_late(self, *, alone: bool) -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await self.call(alone=alone, timeout_s=0.02)
        assert isinstance(caught.value.exceptions[0], LateError)

    async def leave_cancelled(self, *, alone: bool) -> None:
        call = asyncio.create_task(self.call(alone=alone))
        await asyncio.sleep(0.02)
        call.cancel()
        await asyncio.wait([call])

    async def release(self) -> None:
        self.released.set()
        await asyncio.to_thread(self._threads.shutdown)
        self._threads = ThreadPoolExecutor(2)


@pytest.fixture
def threads() -> Iterator[_Threads]:
    threads = _Threads()
    yield threads
    threads.released.set()


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("leave", [_Threads.leave_late, _Threads.leave_cancelled])
async def test_nothing_is_begun_beside_what_a_call_left_on_a_thread(
    threads: _Threads, leave: Callable[..., Awaitable[None]], alone: bool
) -> None:
    await leave(threads, alone=alone)
    for next_alone in (False, True):
        with pytest.raises(OccupiedError):
            await threads.call(alone=next_alone)
    await threads.release()
    await threads.call()
    await threads.call(alone=True)


async def test_who_waits_to_be_alone_is_refused_once_another_call_leaves_something_behind(threads: _Threads) -> None:
    leaving = asyncio.create_task(threads.leave_late(alone=False))
    await asyncio.sleep(0)
    with pytest.raises(OccupiedError):
        await threads.call(alone=True)
    await leaving
