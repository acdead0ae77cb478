"""What every verdict cache does, in memory and in Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from pydantic import SecretStr

from protector_models.moderation.fakes import RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.ports import VerdictCache
from services.settings import RedisSettings
from services.stores.verdict_cache import RedisVerdictCache


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[VerdictCache]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryVerdictCache(max_entries=1_000)
            return
        # Far above the usual: what is tested here is not how quick a loaded machine is.
        settings = RedisSettings(url=SecretStr(request.getfixturevalue("redis_url")), timeout_s=20)
        redis_cache = RedisVerdictCache.from_settings(settings, metrics=RecordedMetrics())
        stack.push_async_callback(redis_cache.close)
        yield redis_cache


@pytest.fixture
def key() -> str:
    """A key that no other test has; the Redis may be shared."""
    return f"assessment:detector@1:{uuid4().hex}"


async def test_what_was_stored_is_found(cache: VerdictCache, key: str) -> None:
    await cache.put_many({key: b"value"})

    assert await cache.get_many([key]) == [b"value"]


async def test_an_unknown_key_is_none_in_its_place(cache: VerdictCache, key: str) -> None:
    await cache.put_many({f"{key}:1": b"one", f"{key}:3": b"three"})

    assert await cache.get_many([f"{key}:1", f"{key}:2", f"{key}:3"]) == [b"one", None, b"three"]


async def test_a_key_that_is_asked_twice_is_answered_twice(cache: VerdictCache, key: str) -> None:
    await cache.put_many({key: b"value"})

    assert await cache.get_many([key, "other", key]) == [b"value", None, b"value"]


async def test_storing_again_replaces(cache: VerdictCache, key: str) -> None:
    await cache.put_many({key: b"old"})
    await cache.put_many({key: b"new"})

    assert await cache.get_many([key]) == [b"new"]


async def test_nothing_asked_and_nothing_stored_is_nothing(cache: VerdictCache) -> None:
    await cache.put_many({})

    assert await cache.get_many([]) == []


@pytest.mark.parametrize(
    "value",
    [b"", bytes(range(256)), b"x" * 1_000_000, "\N{SNOWMAN}".encode()],
    ids=["empty", "every byte", "1 MB", "UTF-8"],
)
async def test_any_bytes_come_back_as_they_were(cache: VerdictCache, key: str, value: bytes) -> None:
    await cache.put_many({key: value})

    assert await cache.get_many([key]) == [value]


async def test_keys_in_any_script_are_kept_apart(cache: VerdictCache, key: str) -> None:
    await cache.put_many({f"{key}:\N{SNOWMAN}": b"snow", f"{key}: \r\n": b"space"})

    assert await cache.get_many([f"{key}:\N{SNOWMAN}", f"{key}: \r\n"]) == [b"snow", b"space"]


async def test_calls_at_the_same_time_get_their_own_answers(cache: VerdictCache, key: str) -> None:
    await cache.put_many({f"{key}:{number}": str(number).encode() for number in range(200)})

    answers = await asyncio.gather(*(cache.get_many([f"{key}:{number}"]) for number in range(200)))

    assert answers == [[str(number).encode()] for number in range(200)]
