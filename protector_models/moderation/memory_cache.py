"""A verdict cache in the memory of one process, for runs without Redis."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

MAX_BYTES = 256_000_000
"""What a cache holds at most unless it is told otherwise: three times what its usual number of assessments takes."""

_ENTRY_BYTES = 250
"""What an entry takes beside the characters of its key and the bytes of its value."""


class MemoryVerdictCache:
    """Keeps the most recently used values, up to a number of entries and of bytes. Implements `VerdictCache`."""

    def __init__(
        self, *, max_entries: int, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make an empty cache.

        Args:
            max_entries: how many values are kept; 0 keeps none.
            max_bytes: of memory that keys and values take together. A value that is larger by itself is not kept.
            clock: seconds that never go back.
        """
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._values: OrderedDict[str, bytes] = OrderedDict()
        self._ends_s: dict[str, float] = {}
        self._size_bytes = 0

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what was stored under each key, or None."""
        for key in keys:
            if key not in self._values:
                continue
            if self._ends_s and self._ends_s.get(key, math.inf) <= self._clock():
                self._drop(key)
            else:
                self._values.move_to_end(key)
        return [self._values.get(key) for key in keys]

    async def put_many(self, values: Mapping[str, bytes], *, ttl_s: int | None = None) -> None:
        """Store values; the least recently used make room."""
        for key, value in values.items():
            if key in self._values:
                self._drop(key)
            if _size(key, value) > self._max_bytes:
                continue  # it would drive out all others, and then itself
            self._values[key] = value
            if ttl_s is not None:
                self._ends_s[key] = self._clock() + ttl_s
            self._size_bytes += _size(key, value)
            self._make_room()

    def _make_room(self) -> None:
        while len(self._values) > self._max_entries or self._size_bytes > self._max_bytes:
            self._drop(next(iter(self._values)))

    def _drop(self, key: str) -> None:
        self._size_bytes -= _size(key, self._values.pop(key))
        self._ends_s.pop(key, None)


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + _ENTRY_BYTES
