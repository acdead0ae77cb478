"""A verdict cache in the memory of one process, for runs without Redis."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence


class MemoryVerdictCache:
    """Keeps the most recently used values, up to a number of entries. Implements `VerdictCache`."""

    def __init__(self, *, max_entries: int) -> None:
        """Make an empty cache.

        Args:
            max_entries: how many values are kept; 0 keeps none.
        """
        self._max_entries = max_entries
        self._values: OrderedDict[str, bytes] = OrderedDict()

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what was stored under each key, or None."""
        for key in keys:
            if key in self._values:
                self._values.move_to_end(key)
        return [self._values.get(key) for key in keys]

    async def put_many(self, values: Mapping[str, bytes]) -> None:
        """Store values; the least recently used make room."""
        for key, value in values.items():
            self._values[key] = value
            self._values.move_to_end(key)
        while len(self._values) > self._max_entries:
            self._values.popitem(last=False)
