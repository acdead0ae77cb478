"""Calls to Redis that end in time and never raise, and the client that they go through."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from protector_models.moderation.errors import ConfigurationError
from services.settings import RedisSettings
from services.stores.breaker import CircuitBreaker

KEY_PREFIX = "weir:1:"
"""Before every key. The number is the version of the stored format: values of another one are never looked at."""

_LOG_INTERVAL_S = 30.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


def make_client(settings: RedisSettings) -> Redis:
    """Make a client; it connects at the first call.

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
    return Redis.from_pool(pool)


class RedisCalls:
    """Makes calls.

    Redis may be down, slow, restarting, full, or hold foreign values: a call then ends without a result within
    `timeout_s`, is counted, and logged at most every 30 s. After some failures in a row Redis is left alone for a while
    (`CircuitBreaker`), so a dead one does not delay everything. One event loop uses it.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        breaker: CircuitBreaker,
        count_error: Callable[[str, str], None],
        words: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without failures.

        Args:
            timeout_s: the longest that a call takes.
            breaker: decides whether Redis is asked at all.
            count_error: counts a failure, by the operation and the class of error.
            words: logged with a failure: what follows from it.
            clock: monotonic seconds, for the rate of logging.
        """
        self._timeout_s = timeout_s
        self._breaker = breaker
        self._count_error = count_error
        self._words = words
        self._clock = clock
        self._quiet_until_s = -float("inf")

    @classmethod
    def from_settings(
        cls,
        settings: RedisSettings,
        *,
        count_error: Callable[[str, str], None],
        words: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Begin without failures, with the time and the breaker that settings describe; the rest as above."""
        breaker = CircuitBreaker(max_failures=settings.breaker_failures, open_s=settings.breaker_open_s, clock=clock)
        return cls(timeout_s=settings.timeout_s, breaker=breaker, count_error=count_error, words=words, clock=clock)

    async def make(self, operation: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return what the call gives, or None where it fails or comes too late."""
        if not self._breaker.allows():
            self._count_error(operation, "CircuitOpen")
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await call()
        except ResponseError as error:
            # Redis is there and quick, but refuses this command (full, read-only): that is no reason to leave it alone.
            self._breaker.succeeded()
            self._report(operation, error)
            return None
        except Exception as error:  # noqa: BLE001  (the contract: never raises, whatever is on the other side)
            self._breaker.failed()
            self._report(operation, error)
            return None
        self._breaker.succeeded()
        return result

    def _report(self, operation: str, error: Exception) -> None:
        """Count a failure; log it if none was logged lately. Without the error's text: it may hold keys or values."""
        name = type(error).__name__
        self._count_error(operation, name)
        now_s = self._clock()
        if now_s >= self._quiet_until_s:
            self._quiet_until_s = now_s + _LOG_INTERVAL_S
            _log.warning(self._words, operation=operation, error=name)
