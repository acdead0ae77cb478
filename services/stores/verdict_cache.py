"""The verdict cache in Redis, shared by all processes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Self, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, ResponseError

from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.ports import Metrics
from services.settings import RedisSettings
from services.stores.breaker import CircuitBreaker

KEY_PREFIX = "weir:1:"
"""Before every key. The number is the version of the stored format: values of another one are never looked at."""

_LOG_INTERVAL_S = 30.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class RedisVerdictCache:
    """Keeps model outputs in Redis for a time. Implements `VerdictCache`.

    Redis may be down, slow, restarting, full, or hold foreign values: a call then ends within `timeout_s` as a miss,
    is counted (`weir_cache_errors_total`), and logged at most every 30 s. After some failures in a row Redis is left
    alone for a while (`CircuitBreaker`), so a dead one does not delay every batch. One event loop uses it.
    """

    def __init__(
        self,
        *,
        client: Redis,
        ttl_s: int,
        timeout_s: float,
        breaker: CircuitBreaker,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put a cache together; nothing is connected.

        Args:
            client: commands go through it; it is closed with the cache.
            ttl_s: how long values are kept.
            timeout_s: the longest that a call takes.
            breaker: decides whether Redis is asked at all.
            metrics: counts failures.
            clock: monotonic seconds, for the rate of logging.
        """
        self._client = client
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._breaker = breaker
        self._metrics = metrics
        self._clock = clock
        self._quiet_until_s = -float("inf")

    @classmethod
    def from_settings(
        cls, settings: RedisSettings, *, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> Self:
        """Make a cache; it connects at the first call.

        Raises:
            ConfigurationError: no URL is set, or it is none of Redis.
        """
        if settings.url is None:
            raise ConfigurationError("redis.url: expected to be set")
        try:
            pool = BlockingConnectionPool.from_url(
                settings.url.get_secret_value(),
                max_connections=settings.max_connections,
                timeout=settings.timeout_s,
                socket_timeout=settings.timeout_s,
                socket_connect_timeout=settings.timeout_s,
                # One immediate retry: connections from before a restart of Redis are dead when they are used next.
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError:
            # Neither the value nor the cause is shown: the URL may hold a password.
            raise ConfigurationError("redis.url: expected redis://, rediss:// or unix:// and an address") from None
        return cls(
            client=Redis.from_pool(pool),
            ttl_s=settings.ttl_s,
            timeout_s=settings.timeout_s,
            breaker=CircuitBreaker(max_failures=settings.breaker_failures, open_s=settings.breaker_open_s, clock=clock),
            metrics=metrics,
            clock=clock,
        )

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what is stored under each key, in one round trip."""
        if not keys:
            return []
        values = await self._guard("get", lambda: self._fetch([KEY_PREFIX + key for key in keys]))
        return [None] * len(keys) if values is None else values

    async def put_many(self, values: Mapping[str, bytes], *, ttl_s: int | None = None) -> None:
        """Store values, in one round trip."""
        if not values:
            return
        pipeline = self._client.pipeline(transaction=False)
        kept_s = self._ttl_s if ttl_s is None else min(ttl_s, self._ttl_s)
        for key, value in values.items():
            pipeline.set(KEY_PREFIX + key, value, ex=kept_s)
        await self._guard("put", pipeline.execute)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _fetch(self, keys: list[str]) -> list[bytes | None]:
        values = await self._client.mget(keys)
        if len(values) != len(keys):
            raise InvalidResponse(f"expected {len(keys)} values, got {len(values)}")
        return [value if isinstance(value, bytes) else None for value in values]

    async def _guard(self, operation: Literal["get", "put"], call: Callable[[], Awaitable[T]]) -> T | None:
        """Return what the call gives, or None where it fails or comes too late."""
        if not self._breaker.allows():
            self._metrics.count("weir_cache_errors_total", operation=operation, error="CircuitOpen")
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await call()
        except ResponseError as error:
            # Redis is there and quick, but refuses this command (full, read-only): that is no reason to leave it alone.
            self._breaker.succeeded()
            self._report(operation, error)
            return None
        except Exception as error:  # noqa: BLE001  (the contract: a cache never raises, whatever is on the other side)
            self._breaker.failed()
            self._report(operation, error)
            return None
        self._breaker.succeeded()
        return result

    def _report(self, operation: str, error: Exception) -> None:
        """Count a failure; log it if none was logged lately. Without the error's text: it may hold keys or values."""
        name = type(error).__name__
        self._metrics.count("weir_cache_errors_total", operation=operation, error=name)
        now_s = self._clock()
        if now_s >= self._quiet_until_s:
            self._quiet_until_s = now_s + _LOG_INTERVAL_S
            _log.warning("verdict cache failed; model outputs are computed instead", operation=operation, error=name)
