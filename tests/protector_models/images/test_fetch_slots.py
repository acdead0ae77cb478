"""Turns for fetching, over all and for one host."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from protector_models.images.fetch_slots import FetchSlots


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 5), st.integers(1, 5))
def test_everybody_gets_a_turn_and_no_more_at_once_than_there_are(hosts: list[str], total: int, per_host: int) -> None:
    at_once: Counter[str] = Counter()
    done: list[str] = []

    async def take(slots: FetchSlots, host: str) -> None:
        async with slots.turn(host):
            at_once[host] += 1
            assert at_once[host] <= per_host
            assert at_once.total() <= total
            await asyncio.sleep(0)
            at_once[host] -= 1
        done.append(host)

    async def take_all() -> None:
        slots = FetchSlots(total=total, per_host=per_host)
        async with asyncio.TaskGroup() as group:
            for host in hosts:
                group.create_task(take(slots, host))

    asyncio.run(take_all())
    assert Counter(done) == Counter(hosts)


async def test_who_waits_for_a_busy_host_holds_no_turn_that_others_could_have() -> None:
    slots = FetchSlots(total=2, per_host=1)
    async with slots.turn("busy"), asyncio.TaskGroup() as group:
        waiting = group.create_task(_take(slots, "busy"))
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await _take(slots, "other")
        waiting.cancel()


async def _take(slots: FetchSlots, host: str) -> None:
    async with slots.turn(host):
        pass
