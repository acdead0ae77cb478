"""The verdict cache while Redis is gone, silent, foreign, full, or comes back."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from structlog.testing import capture_logs

from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.fakes import RecordedMetrics
from services.settings import RedisSettings
from services.stores.local_redis import LocalRedis
from services.stores.redis_calls import KEY_PREFIX
from services.stores.verdict_cache import RedisVerdictCache

BOUND_S = 20.0
"""What bounds a test on a loaded machine; far above any timeout that it sets."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Rig:
    """A cache, with what it counts and the clock it sees."""

    cache: RedisVerdictCache
    metrics: RecordedMetrics = field(default_factory=RecordedMetrics)
    clock: Clock = field(default_factory=Clock)

    def errors(self) -> set[tuple[str, str]]:
        """Return (operation, error) of everything that failed."""
        labels = [dict(labels) for name, labels in self.metrics.counts if name == "weir_cache_errors_total"]
        return {(one["operation"], one["error"]) for one in labels}


@asynccontextmanager
async def open_cache(url: str, *, timeout_s: float = 10.0, breaker_failures: int = 3) -> AsyncIterator[Rig]:
    """Open a cache on a clock that stands still."""
    metrics, clock = RecordedMetrics(), Clock()
    settings = RedisSettings(
        url=SecretStr(url), timeout_s=timeout_s, breaker_failures=breaker_failures, breaker_open_s=5
    )
    cache = RedisVerdictCache.from_settings(settings, metrics=metrics, clock=clock)
    try:
        yield Rig(cache=cache, metrics=metrics, clock=clock)
    finally:
        await cache.close()


@dataclass
class LoopbackServer:
    """A server that is no Redis."""

    url: str = ""
    connections: int = 0


@asynccontextmanager
async def open_server(serve: Serve) -> AsyncIterator[LoopbackServer]:
    """Run a server that does with each connection what a function says."""
    opened = LoopbackServer()

    async def count_and_serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.connections += 1
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(count_and_serve, "127.0.0.1", 0)
    opened.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    async with server:
        yield opened


async def stay_silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Read until the client goes away, and never answer."""
    await reader.read(-1)


async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer whatever comes as a web server would."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def speak_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every read with an array of one integer."""
    while await reader.read(4096):
        writer.write(b"*1\r\n:7\r\n" * 8)
        await writer.drain()


async def hang_up(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Close every connection at once."""


async def test_nothing_connects_before_the_first_call() -> None:
    async with open_server(stay_silent) as server, open_cache(server.url):
        assert server.connections == 0


@pytest.mark.parametrize("serve", [speak_http, speak_nonsense, hang_up])
async def test_a_server_that_is_no_redis_is_a_miss_and_counted(serve: Serve) -> None:
    async with open_server(serve) as server, open_cache(server.url) as rig, asyncio.timeout(BOUND_S):
        assert await rig.cache.get_many(["a", "b"]) == [None, None]
        await rig.cache.put_many({"a": b"1"})

    assert "get" in {operation for operation, _ in rig.errors()}


async def test_no_server_at_all_is_a_miss_and_counted() -> None:
    async with open_server(hang_up) as closed:
        pass
    async with open_cache(closed.url) as rig:
        assert await rig.cache.get_many(["a"]) == [None]
        await rig.cache.put_many({"a": b"1"})

    assert rig.errors() == {("get", "ConnectionError"), ("put", "ConnectionError")}


async def test_a_silent_server_delays_a_call_by_no_more_than_the_timeout() -> None:
    async with open_server(stay_silent) as server, open_cache(server.url, timeout_s=0.05) as rig:
        async with asyncio.timeout(BOUND_S):
            assert await rig.cache.get_many(["a", "b", "c"]) == [None, None, None]

    assert {error for _, error in rig.errors()} == {"TimeoutError"}


async def test_a_server_that_keeps_failing_is_left_alone_and_then_asked_once() -> None:
    async with open_server(hang_up) as server, open_cache(server.url, breaker_failures=2) as rig:
        for _ in range(2):
            await rig.cache.get_many(["a"])
        while_closed = server.connections
        for _ in range(50):
            assert await rig.cache.get_many(["a"]) == [None]
        assert server.connections == while_closed
        rig.clock.now_s = 5.0
        await asyncio.gather(*(rig.cache.get_many(["a"]) for _ in range(10)))

        assert while_closed < server.connections <= while_closed + 2  # one call, with its one retry
    assert ("get", "CircuitOpen") in rig.errors()


async def test_failures_are_logged_at_a_limited_rate_and_without_keys() -> None:
    async with open_server(hang_up) as server, open_cache(server.url, breaker_failures=1_000) as rig:
        with capture_logs() as logs:
            for _ in range(20):
                await rig.cache.get_many(["secret-key"])
            rig.clock.now_s = 30.0
            await rig.cache.get_many(["secret-key"])

    assert len(logs) == 2
    assert "secret-key" not in str(logs)


@pytest.mark.parametrize("url", ["http://:secret@localhost", "nonsense-secret", ""])
def test_a_url_that_is_none_is_an_error_that_does_not_show_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"redis\.url") as caught:
        RedisVerdictCache.from_settings(RedisSettings(url=SecretStr(url)), metrics=RecordedMetrics())

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.redis
async def test_a_restart_of_redis_costs_misses_and_nothing_else(redis_server: LocalRedis) -> None:
    async with open_cache(redis_server.url, breaker_failures=1) as rig:
        await rig.cache.put_many({"a": b"1"})
        assert await rig.cache.get_many(["a"]) == [b"1"]
        redis_server.stop()
        assert await rig.cache.get_many(["a"]) == [None]
        await rig.cache.put_many({"a": b"2"})
        redis_server.start()
        rig.clock.now_s = 5.0
        assert await rig.cache.get_many(["a"]) == [None]
        await rig.cache.put_many({"a": b"3"})

        assert await rig.cache.get_many(["a"]) == [b"3"]
    assert rig.errors() >= {("get", "ConnectionError"), ("put", "CircuitOpen")}


@pytest.mark.redis
async def test_connections_from_before_a_restart_cost_no_miss(redis_server: LocalRedis) -> None:
    async with open_cache(redis_server.url) as rig:
        await rig.cache.put_many({"a": b"1"})
        redis_server.stop()
        redis_server.start()
        await rig.cache.put_many({"a": b"2"})

        assert await rig.cache.get_many(["a"]) == [b"2"]
    assert rig.metrics.total("weir_cache_errors_total") == 0


@pytest.mark.redis
async def test_an_answer_that_comes_too_late_is_never_taken_for_the_next_one(redis_server: LocalRedis) -> None:
    async with open_cache(redis_server.url, timeout_s=2.0, breaker_failures=1_000) as rig:
        await rig.cache.put_many({"a": b"of a", "b": b"of b"})
        os.kill(redis_server.pid, signal.SIGSTOP)
        try:
            assert await rig.cache.get_many(["a"]) == [None]
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)

        assert await rig.cache.get_many(["b"]) == [b"of b"]
        assert await rig.cache.get_many(["a"]) == [b"of a"]


@pytest.mark.redis
async def test_values_of_other_types_are_misses(redis_server: LocalRedis) -> None:
    async with Redis.from_url(redis_server.url) as client, open_cache(redis_server.url) as rig:
        await client.lpush(f"{KEY_PREFIX}list", "x")
        await client.set(f"{KEY_PREFIX}bytes", b"\xff\x00")

        assert await rig.cache.get_many(["list", "bytes"]) == [None, b"\xff\x00"]
    assert rig.metrics.total("weir_cache_errors_total") == 0


@pytest.mark.redis
async def test_values_are_kept_for_the_configured_time(redis_server: LocalRedis) -> None:
    async with Redis.from_url(redis_server.url) as client, open_cache(redis_server.url) as rig:
        await rig.cache.put_many({"a": b"1"})

        assert 0 < await client.ttl(f"{KEY_PREFIX}a") <= RedisSettings().ttl_s


@pytest.mark.redis
async def test_values_may_be_kept_for_less_time_never_for_more(redis_server: LocalRedis) -> None:
    async with Redis.from_url(redis_server.url) as client, open_cache(redis_server.url) as rig:
        await rig.cache.put_many({"a": b"1"}, ttl_s=60)
        await rig.cache.put_many({"b": b"1"}, ttl_s=10 * RedisSettings().ttl_s)

        assert 0 < await client.ttl(f"{KEY_PREFIX}a") <= 60
        assert 60 < await client.ttl(f"{KEY_PREFIX}b") <= RedisSettings().ttl_s


@pytest.mark.redis
async def test_a_full_redis_refuses_values_and_still_answers(redis_server: LocalRedis) -> None:
    async with Redis.from_url(redis_server.url) as client, open_cache(redis_server.url, breaker_failures=1) as rig:
        await rig.cache.put_many({"a": b"1"})
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", "1")
        await rig.cache.put_many({"b": b"2"})

        assert await rig.cache.get_many(["a", "b"]) == [b"1", None]
    assert rig.errors() == {("put", "OutOfMemoryError")}
