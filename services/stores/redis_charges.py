"""Counting against a limit in Redis, for all processes together; each for itself while Redis is away."""

import time
from collections.abc import Callable
from typing import Self, cast

from redis.asyncio import Redis
from redis.exceptions import InvalidResponse

from protector_models.moderation.ports import Metrics
from services.settings import RedisSettings
from services.stores.charges import SLOTS, WINDOW_S, Charge, Charges, MemoryCharges
from services.stores.redis_calls import KEY_PREFIX, RedisCalls, make_client

_SCRIPT = """
local amount, limit, slot_us, slots = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now_us = tonumber(ARGV[5]) or (tonumber(time[1]) * 1000000 + tonumber(time[2]))
local current = math.floor(now_us / slot_us)
local used, answer = 0, {}
local entries = redis.call('HGETALL', KEYS[1])
for at = 1, #entries, 2 do
  local slot, number = tonumber(entries[at]), tonumber(entries[at + 1])
  if slot < current - slots or slot > current + slots then
    redis.call('HDEL', KEYS[1], entries[at])
  else
    used = used + number
    answer[#answer + 1] = slot
    answer[#answer + 1] = number
  end
end
if used + amount > limit then
  return {0, now_us, unpack(answer)}
end
redis.call('HINCRBY', KEYS[1], string.format('%.0f', current), amount)
redis.call('PEXPIRE', KEYS[1], math.ceil(slot_us * slots * 2 / 1000))
return {1, now_us, current, amount, unpack(answer)}
"""
"""Counts in one step, by the clock of Redis: replicas' clocks may differ. A hash holds the numbers of 61 slots. Slots
far ahead are of a clock that was set back."""


class RedisCharges:
    """Counts in Redis. Implements `Charges`.

    What is counted is counted in this process too, first: while Redis is away, or has forgotten, this process alone
    lets no more through than the limit. Each charge that Redis does not answer is counted
    (`weir_rate_limit_errors_total`).
    """

    def __init__(
        self,
        *,
        client: Redis,
        calls: RedisCalls,
        own: MemoryCharges,
        window_s: float = WINDOW_S,
        redis_clock: Callable[[], float] | None = None,
    ) -> None:
        """Put it together; nothing is connected.

        Args:
            client: commands go through it; it is closed with this.
            calls: bound what Redis costs.
            own: counts in this process.
            window_s: how long a window is.
            redis_clock: seconds that number the slots in Redis; None: those of Redis itself.
        """
        self._client = client
        self._calls = calls
        self._own = own
        self._window_s = window_s
        self._redis_clock = redis_clock
        self._script = client.register_script(_SCRIPT)

    @classmethod
    def from_settings(
        cls, settings: RedisSettings, *, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> Self:
        """Make it; it connects at the first call.

        Raises:
            ConfigurationError: no URL is set, or it is none of Redis.
        """
        calls = RedisCalls.from_settings(
            settings,
            count_error=lambda _, error: metrics.count("weir_rate_limit_errors_total", error=error),
            words="rate limits are each replica's own while Redis is away",
            clock=clock,
        )
        return cls(client=make_client(settings), calls=calls, own=MemoryCharges(clock=clock))

    async def charge(self, key: str, amount: int, *, limit: int) -> Charge:
        """Count something, or nothing."""
        own, slot = self._own.charge_in_slot(key, amount, limit=limit)
        if not own.is_allowed:
            return own
        shared = await self._calls.make("charge", lambda: self._charge(key, amount, limit))
        if shared is None:
            return own
        if not shared.is_allowed:
            self._own.take_back(key, amount, slot=slot)
        return shared

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _charge(self, key: str, amount: int, limit: int) -> Charge:
        now = "" if self._redis_clock is None else str(round(self._redis_clock() * 1_000_000))
        arguments: list[int | float | str] = [amount, limit, self._window_s * 1_000_000 / SLOTS, SLOTS, now]
        answer = await self._script(keys=[f"{KEY_PREFIX}rate:{key}"], args=arguments)
        if not isinstance(answer, list) or len(answer) % 2 or not all(isinstance(number, int) for number in answer):
            raise InvalidResponse("expected pairs of numbers")
        numbers = cast("list[int]", answer)
        (is_allowed, now_us), pairs = numbers[:2], zip(numbers[2::2], numbers[3::2], strict=True)
        slots: dict[int, int] = {}
        for slot, number in pairs:
            slots[slot] = slots.get(slot, 0) + number
        return Charge.of(
            is_allowed=bool(is_allowed),
            amount=amount,
            limit=limit,
            slots=slots,
            now_s=now_us / 1_000_000,
            window_s=self._window_s,
        )


def make_charges(settings: RedisSettings, *, metrics: Metrics) -> Charges:
    """Make what counts: in Redis where `redis.url` is set, else in this process.

    Raises:
        ConfigurationError: it is no URL of Redis.
    """
    if settings.url is None:
        return MemoryCharges(clock=time.monotonic)
    return RedisCharges.from_settings(settings, metrics=metrics)
