"""Counting against a limit: at most so many in any window of time, counted in slots of a sixtieth of it.

A window lies within 61 slots that follow each other, so no more than the limit over these is never more than the limit
in the window. What was counted is free again after the window and at most one slot.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor
from typing import Protocol, Self

WINDOW_S = 60.0
"""Limits are so many a minute."""
SLOTS = 60
"""Of a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What became of something that was to be counted."""

    is_allowed: bool
    """Whether it was counted; else nothing was."""
    limit: int
    remaining: int
    """How many more there may be now."""
    retry_after_s: float
    """When as much would be allowed, if nobody else comes; 0 where it was."""
    reset_s: float
    """When nothing is counted any more, if nobody else comes."""

    @classmethod
    def of(
        cls, *, is_allowed: bool, amount: int, limit: int, slots: Mapping[int, int], now_s: float, window_s: float
    ) -> Self:
        """Return the charge.

        Args:
            is_allowed: whether it was counted.
            amount: of what was to be counted.
            limit: in any window.
            slots: what is counted, by the number of the slot, this charge among it.
            now_s: by the clock that numbers the slots.
            window_s: how long a window is.
        """
        used, slot_s = sum(slots.values()), window_s / SLOTS

        def free_in_s(slot: int) -> float:
            return max(0.0, (slot + SLOTS + 1) * slot_s - now_s)

        retry_after_s, excess = 0.0, 0 if is_allowed else used + amount - limit
        for slot in sorted(slots):
            if excess <= 0:
                break
            excess -= slots[slot]
            retry_after_s = free_in_s(slot)
        return cls(
            is_allowed=is_allowed,
            limit=limit,
            remaining=max(0, limit - used),
            retry_after_s=retry_after_s,
            reset_s=max((free_in_s(slot) for slot in slots), default=0.0),
        )


class Charges(Protocol):
    """Counts, by key. Never raises, and answers within a bounded time."""

    async def charge(self, key: str, amount: int, *, limit: int) -> Charge:
        """Count something, or nothing where it would be more than the limit in some window.

        Args:
            key: what is limited.
            amount: at most `limit`, or it is never allowed.
            limit: in any window.
        """

    async def close(self) -> None:
        """Give connections up."""


class MemoryCharges:
    """Counts in this process. Implements `Charges`."""

    def __init__(self, *, clock: Callable[[], float], window_s: float = WINDOW_S) -> None:
        self._clock = clock
        self._window_s = window_s
        self._slots: dict[str, dict[int, int]] = {}

    async def charge(self, key: str, amount: int, *, limit: int) -> Charge:
        """Count something, or nothing."""
        charge, _ = self.charge_in_slot(key, amount, limit=limit)
        return charge

    def charge_in_slot(self, key: str, amount: int, *, limit: int) -> tuple[Charge, int]:
        """Count something, or nothing, as `charge`; return the number of its slot, too."""
        now_s = self._clock()
        current = floor(now_s * SLOTS / self._window_s)
        slots = self._slots[key] = {
            slot: number for slot, number in self._slots.get(key, {}).items() if slot >= current - SLOTS
        }
        is_allowed = sum(slots.values()) + amount <= limit
        if is_allowed:
            slots[current] = slots.get(current, 0) + amount
        charge = Charge.of(
            is_allowed=is_allowed, amount=amount, limit=limit, slots=slots, now_s=now_s, window_s=self._window_s
        )
        return charge, current

    def take_back(self, key: str, amount: int, *, slot: int) -> None:
        """Count something no more that was counted in a slot."""
        slots = self._slots[key]
        left = slots.pop(slot, 0) - amount
        if left > 0:
            slots[slot] = left

    async def close(self) -> None:
        """Do nothing."""
