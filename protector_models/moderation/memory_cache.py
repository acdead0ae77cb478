"""A verdict cache in the memory of one process, for runs without Redis."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

MAX_BYTES = 256_000_000
"""What a cache holds at most unless it is told otherwise: three times what its usual number of assessments takes."""

_ENTRY_BYTES = 250
"""What an entry takes beside the characters of its key and the bytes of its value."""


class MemoryVerdictCache:
    """Keeps the most recently used values, up to a number of entries and of bytes. Implements `VerdictCache`."""

    def __init__(self, *, max_entries: int, max_bytes: int = MAX_BYTES) -> None:
        """Make an empty cache.

        Args:
            max_entries: how many values are kept; 0 keeps none.
            max_bytes: of memory that keys and values take together. A value that is larger by itself is not kept.
        """
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._values: OrderedDict[str, bytes] = OrderedDict()
        self._size_bytes = 0

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what was stored under each key, or None."""
        for key in keys:
            if key in self._values:
                self._values.move_to_end(key)
        return [self._values.get(key) for key in keys]

    async def put_many(self, values: Mapping[str, bytes]) -> None:
        """Store values; the least recently used make room."""
        for key, value in values.items():
            if key in self._values:
                self._size_bytes -= _size(key, self._values.pop(key))
            if _size(key, value) > self._max_bytes:
                continue  # it would drive out all others, and then itself
            self._values[key] = value
            self._size_bytes += _size(key, value)
            self._make_room()

    def _make_room(self) -> None:
        while len(self._values) > self._max_entries or self._size_bytes > self._max_bytes:
            self._size_bytes -= _size(*self._values.popitem(last=False))


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + _ENTRY_BYTES
