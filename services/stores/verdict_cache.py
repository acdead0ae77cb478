"""The verdict cache in Redis, shared by all processes."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import InvalidResponse

from protector_models.moderation.ports import Metrics
from services.settings import RedisSettings
from services.stores.redis_calls import KEY_PREFIX, RedisCalls, make_client


class RedisVerdictCache:
    """Keeps model outputs in Redis for a time. Implements `VerdictCache`.

    A call that fails or comes too late is a miss, counted (`weir_cache_errors_total`); see `RedisCalls`.
    """

    def __init__(self, *, client: Redis, ttl_s: int, calls: RedisCalls) -> None:
        """Put a cache together; nothing is connected.

        Args:
            client: commands go through it; it is closed with the cache.
            ttl_s: how long values are kept.
            calls: bound what Redis costs.
        """
        self._client = client
        self._ttl_s = ttl_s
        self._calls = calls

    @classmethod
    def from_settings(
        cls, settings: RedisSettings, *, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> Self:
        """Make a cache; it connects at the first call.

        Raises:
            ConfigurationError: no URL is set, or it is none of Redis.
        """
        calls = RedisCalls.from_settings(
            settings,
            count_error=lambda operation, error: metrics.count(
                "weir_cache_errors_total", operation=operation, error=error
            ),
            words="verdict cache failed; model outputs are computed instead",
            clock=clock,
        )
        return cls(client=make_client(settings), ttl_s=settings.ttl_s, calls=calls)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what is stored under each key, in one round trip."""
        if not keys:
            return []
        values = await self._calls.make("get", lambda: self._fetch([KEY_PREFIX + key for key in keys]))
        return [None] * len(keys) if values is None else values

    async def put_many(self, values: Mapping[str, bytes], *, ttl_s: int | None = None) -> None:
        """Store values, in one round trip."""
        if not values:
            return
        pipeline = self._client.pipeline(transaction=False)
        kept_s = self._ttl_s if ttl_s is None else min(ttl_s, self._ttl_s)
        for key, value in values.items():
            pipeline.set(KEY_PREFIX + key, value, ex=kept_s)
        await self._calls.make("put", pipeline.execute)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _fetch(self, keys: list[str]) -> list[bytes | None]:
        values = await self._client.mget(keys)
        if len(values) != len(keys):
            raise InvalidResponse(f"expected {len(keys)} values, got {len(values)}")
        return [value if isinstance(value, bytes) else None for value in values]
