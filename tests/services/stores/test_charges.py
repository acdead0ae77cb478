"""Counting against a limit, in memory and in Redis: never more in any window, and free again after it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from structlog.testing import capture_logs

from protector_models.moderation.fakes import RecordedMetrics
from services.settings import RedisSettings
from services.stores.charges import SLOTS, WINDOW_S, Charge, Charges, MemoryCharges
from services.stores.local_redis import LocalRedis
from services.stores.redis_calls import RedisCalls, make_client
from services.stores.redis_charges import RedisCharges

T = TypeVar("T")

SLOT_S = WINDOW_S / SLOTS
EPSILON_S = 0.001


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now_s: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Rig:
    """What counts, and the clock it sees."""

    charges: Charges
    clock: Clock
    metrics: RecordedMetrics = field(default_factory=RecordedMetrics)
    key: str = field(default_factory=lambda: uuid4().hex)

    async def charge(self, amount: int = 1, *, limit: int) -> Charge:
        return await self.charges.charge(self.key, amount, limit=limit)


@asynccontextmanager
async def open_redis(
    url: str, clock: Clock | None = None, *, own_clock: Clock | None = None, timeout_s: float = 20
) -> AsyncIterator[Rig]:
    """Open what counts in Redis, on a clock of the test's."""
    clock = clock or Clock()
    own_clock = own_clock or clock
    configured = RedisSettings(url=SecretStr(url), timeout_s=timeout_s, breaker_failures=1)
    metrics = RecordedMetrics()
    calls = RedisCalls.from_settings(
        configured,
        count_error=lambda _, error: metrics.count("weir_rate_limit_errors_total", error=error),
        words="Redis failed",
        clock=own_clock,
    )
    charges = RedisCharges(
        client=make_client(configured), calls=calls, own=MemoryCharges(clock=own_clock), redis_clock=clock
    )
    try:
        yield Rig(charges=charges, clock=clock, metrics=metrics)
    finally:
        await charges.close()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    if request.param == "memory":
        clock = Clock()
        yield Rig(charges=MemoryCharges(clock=clock), clock=clock)
        return
    async with open_redis(request.getfixturevalue("redis_url")) as opened:
        yield opened


async def test_as_many_as_the_limit_are_allowed_and_no_more(rig: Rig) -> None:
    made = [await rig.charge(limit=3) for _ in range(5)]
    assert [charge.is_allowed for charge in made] == [True, True, True, False, False]
    assert [charge.remaining for charge in made] == [2, 1, 0, 0, 0]
    assert {charge.limit for charge in made} == {3}
    assert rig.metrics.total("weir_rate_limit_errors_total") == 0


async def test_what_is_refused_is_not_counted(rig: Rig) -> None:
    await rig.charge(3, limit=4)
    refused = await rig.charge(2, limit=4)
    assert (refused.is_allowed, refused.remaining) == (False, 1)
    assert (await rig.charge(1, limit=4)).is_allowed


async def test_keys_are_counted_apart(rig: Rig) -> None:
    await rig.charge(limit=1)
    assert (await rig.charges.charge(rig.key + ":other", 1, limit=1)).is_allowed
    assert not (await rig.charge(limit=1)).is_allowed


async def test_whoever_comes_again_when_told_to_is_let_through_and_not_before(rig: Rig) -> None:
    for _ in range(3):
        await rig.charge(2, limit=6)
        rig.clock.now_s += 7.3
    refused = await rig.charge(3, limit=6)
    assert WINDOW_S - 3 * 7.3 < refused.retry_after_s <= WINDOW_S + SLOT_S
    begun_s = rig.clock.now_s
    rig.clock.now_s = begun_s + refused.retry_after_s - SLOT_S / 2
    assert not (await rig.charge(3, limit=6)).is_allowed
    rig.clock.now_s = begun_s + refused.retry_after_s + EPSILON_S
    assert (await rig.charge(3, limit=6)).is_allowed


async def test_all_is_free_again_when_it_was_said(rig: Rig) -> None:
    await rig.charge(4, limit=10)
    rig.clock.now_s += 20
    made = await rig.charge(5, limit=10)
    rig.clock.now_s += made.reset_s + EPSILON_S
    charge = await rig.charge(10, limit=10)
    assert (charge.is_allowed, charge.remaining) == (True, 0)


async def test_of_many_that_come_at_once_as_many_as_the_limit_are_allowed(rig: Rig) -> None:
    made = await asyncio.gather(*(rig.charge(limit=30) for _ in range(100)))
    assert sum(charge.is_allowed for charge in made) == 30


pauses = st.one_of(st.floats(0, 3), st.floats(0, 70), st.sampled_from([0.0, 1.0, 59.0, 60.0, 61.0]))
visits = st.lists(st.tuples(pauses, st.integers(1, 4)), max_size=40)


def most_in_a_window(allowed: Sequence[tuple[float, int]]) -> int:
    """Return the most that lies in some window, of what was allowed when."""
    return max(
        (sum(number for at_s, number in allowed if begin_s <= at_s < begin_s + WINDOW_S) for begin_s, _ in allowed),
        default=0,
    )


async def run_through(rig: Rig, script: Sequence[tuple[float, int]], *, limit: int) -> list[tuple[float, int]]:
    """Charge as a script says; return what was allowed, by the clock."""
    allowed = []
    for pause_s, amount in script:
        rig.clock.now_s += pause_s
        if (await rig.charge(amount, limit=limit)).is_allowed:
            allowed.append((rig.clock.now_s, amount))
    return allowed


@given(script=visits, limit=st.integers(4, 8))
async def test_in_no_window_there_is_more_than_the_limit(script: list[tuple[float, int]], limit: int) -> None:
    clock = Clock()
    allowed = await run_through(Rig(charges=MemoryCharges(clock=clock), clock=clock), script, limit=limit)
    assert most_in_a_window(allowed) <= limit


@given(script=visits, limit=st.integers(4, 8))
async def test_whoever_keeps_a_slot_away_from_the_limit_is_never_refused(
    script: list[tuple[float, int]], limit: int
) -> None:
    clock = Clock()
    charges = MemoryCharges(clock=clock)
    asked: list[tuple[float, int]] = []
    for pause_s, amount in script:
        clock.now_s += pause_s
        lately = sum(number for at_s, number in asked if at_s >= clock.now_s - WINDOW_S - SLOT_S)
        if lately + amount > limit:
            continue
        asked.append((clock.now_s, amount))
        assert (await charges.charge("key", amount, limit=limit)).is_allowed


@pytest.mark.redis
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=visits, limit=st.integers(4, 8), who=st.lists(st.booleans(), min_size=40, max_size=40))
async def test_in_redis_two_replicas_are_let_through_what_one_is_in_memory(
    redis_url: str, script: list[tuple[float, int]], limit: int, who: list[bool]
) -> None:
    clock = Clock()
    memory = MemoryCharges(clock=clock)
    async with open_redis(redis_url, clock) as first, open_redis(redis_url, clock) as second:
        second.key = first.key
        for (pause_s, amount), is_first in zip(script, who, strict=False):
            clock.now_s += pause_s
            expected = await memory.charge("key", amount, limit=limit)
            found = await (first if is_first else second).charge(amount, limit=limit)
            assert (found.is_allowed, found.is_allowed and found.remaining) == (
                expected.is_allowed,
                expected.is_allowed and expected.remaining,
            )
        assert first.metrics.total("weir_rate_limit_errors_total") == 0


class Scripted(RedisCalls):
    """Makes calls when its script says so; else Redis is away."""

    is_away = False

    async def make(self, operation: str, call: Callable[[], Awaitable[T]]) -> T | None:
        return None if self.is_away else await super().make(operation, call)


def scripted_replica(url: str, clock: Clock) -> tuple[RedisCharges, Scripted]:
    configured = RedisSettings(url=SecretStr(url), timeout_s=20)
    calls = Scripted.from_settings(configured, count_error=lambda *_: None, words="", clock=clock)
    own = MemoryCharges(clock=clock)
    return RedisCharges(client=make_client(configured), calls=calls, own=own, redis_clock=clock), calls


@pytest.mark.redis
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=visits,
    limit=st.integers(4, 8),
    who=st.lists(st.integers(0, 1), min_size=40, max_size=40),
    away=st.lists(st.booleans(), min_size=40, max_size=40),
)
async def test_however_redis_comes_and_goes_no_replica_and_not_redis_lets_through_more_than_the_limit(
    redis_url: str, script: list[tuple[float, int]], limit: int, who: list[int], away: list[bool]
) -> None:
    clock, key = Clock(), uuid4().hex
    replicas = [scripted_replica(redis_url, clock) for _ in range(2)]
    allowed: dict[str, list[tuple[float, int]]] = {"0": [], "1": [], "by Redis": []}
    try:
        for (pause_s, amount), number, is_away in zip(script, who, away, strict=False):
            clock.now_s += pause_s
            charges, calls = replicas[number]
            calls.is_away = is_away
            if (await charges.charge(key, amount, limit=limit)).is_allowed:
                for counted in (str(number), *(() if is_away else ("by Redis",))):
                    allowed[counted].append((clock.now_s, amount))
    finally:
        for charges, _ in replicas:
            await charges.close()
    assert all(most_in_a_window(counted) <= limit for counted in allowed.values())


@pytest.mark.redis
async def test_by_the_clock_of_redis_itself_what_is_counted_goes_with_time(redis_url: str) -> None:
    configured = RedisSettings(url=SecretStr(redis_url), timeout_s=20)
    metrics = RecordedMetrics()
    charges = RedisCharges.from_settings(configured, metrics=metrics)
    key = uuid4().hex
    try:
        made = [await charges.charge(key, 1, limit=2) for _ in range(3)]
        async with make_client(configured) as client:
            assert 60_000 < await client.pttl(f"weir:1:rate:{key}") <= 120_000
    finally:
        await charges.close()
    assert [charge.is_allowed for charge in made] == [True, True, False]
    assert 50 < made[0].reset_s <= WINDOW_S + SLOT_S
    assert metrics.total("weir_rate_limit_errors_total") == 0


async def test_without_redis_each_replica_counts_for_itself_and_says_so() -> None:
    async with open_redis("redis://127.0.0.1:1/0", timeout_s=2) as rig:
        with capture_logs() as logs:
            made = [await rig.charge(limit=2) for _ in range(4)]
    assert [charge.is_allowed for charge in made] == [True, True, False, False]
    errors = {dict(labels)["error"] for _, labels in rig.metrics.counts}
    assert errors == {"ConnectionError", "CircuitOpen"}
    assert len(logs) == 1
    assert rig.key not in str(logs)


@pytest.mark.redis
async def test_while_redis_goes_and_comes_no_replica_lets_more_through_than_the_limit(
    redis_server: LocalRedis,
) -> None:
    clock = Clock()
    async with open_redis(redis_server.url, clock) as rig:
        allowed = await run_through(rig, [(1.0, 1)] * 3, limit=5)
        redis_server.stop()
        allowed += await run_through(rig, [(1.0, 1)] * 2, limit=5)
        redis_server.start()
        allowed += await run_through(rig, [(6.0, 1)] * 3, limit=5)
    assert rig.metrics.total("weir_rate_limit_errors_total") > 0
    assert most_in_a_window(allowed) == len(allowed) == 5


@pytest.mark.redis
async def test_a_foreign_value_in_redis_is_no_limit_and_no_pass(redis_url: str) -> None:
    async with open_redis(redis_url) as rig:
        async with make_client(RedisSettings(url=SecretStr(redis_url), timeout_s=20)) as client:
            await client.set(f"weir:1:rate:{rig.key}", b"foreign")
        made = [await rig.charge(limit=1) for _ in range(2)]
    assert [charge.is_allowed for charge in made] == [True, False]
    assert rig.metrics.total("weir_rate_limit_errors_total") == 1
