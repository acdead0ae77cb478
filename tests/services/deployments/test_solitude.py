"""Calls that run together, and one that runs alone."""

import asyncio

import pytest

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
