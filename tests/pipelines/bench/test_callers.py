"""Several callers at the same time, and how fast they are answered."""

import asyncio
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.bench.callers import measure_pace
from pipelines.bench.stream_events import BenchmarkError


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.001, 0.003]), min_size=1, max_size=5))
def test_each_caller_warms_up_and_is_measured_with_work_of_its_own(waits_s: list[float]) -> None:
    done: list[list[int]] = [[] for _ in waits_s]

    async def call(number: int, work: int) -> None:
        await asyncio.sleep(waits_s[number])
        done[number].append(work)

    callers = [lambda work, number=number: call(number, work) for number in range(len(waits_s))]
    pace = asyncio.run(measure_pace(callers, count(), seconds=0.005))
    assert all(len(works) >= 2 for works in done)
    assert len({work for works in done for work in works}) == sum(map(len, done))
    assert 0 < pace.p50_ms <= pace.p99_ms
    assert pace.per_s > 0


async def test_a_call_that_fails_ends_all_with_its_error() -> None:
    is_cancelled = asyncio.Event()

    async def wait(_: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()

    async def fail(_: int) -> None:
        await asyncio.sleep(0)
        raise BenchmarkError("expected status 200, got 500")

    with pytest.raises(BenchmarkError, match="expected status 200, got 500"):
        await measure_pace([wait, fail], count(), seconds=5)
    assert is_cancelled.is_set()


async def test_the_rate_counts_all_callers_and_the_quantiles_are_of_single_calls() -> None:
    async def call(_: int) -> None:
        await asyncio.sleep(0.02)

    pace = await measure_pace([call] * 4, count(), seconds=0.1)
    assert pace.p50_ms >= 20
    # Four at a time in at least 20 ms each; how much longer they took is the machine's.
    assert pace.per_s <= 200
