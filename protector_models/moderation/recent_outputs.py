"""Outputs that the cache gave a moment ago, as they were read: what comes often is not fetched and decoded anew."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

KEPT_S = 60.0
"""How long an output is kept after the cache gave it: so long what was deleted there may still be used."""
MAX_BYTES = 4_000_000
"""Of all outputs as the cache holds them; decoded they take some times as much."""


class RecentOutputs(Generic[T]):
    """Keeps the most recently used outputs of one kind, for a short time. They are shared, and must not be changed."""

    def __init__(
        self, *, max_bytes: int = MAX_BYTES, kept_s: float = KEPT_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with none.

        Args:
            max_bytes: of all outputs, encoded. One that is larger by itself is not kept.
            kept_s: seconds after which the cache is asked again.
            clock: seconds that never go back.
        """
        self._max_bytes = max_bytes
        self._kept_s = kept_s
        self._clock = clock
        self._outputs: OrderedDict[str, tuple[float, int, T]] = OrderedDict()
        """By key: until when it is kept, how many bytes it has, and itself."""
        self._num_bytes = 0

    def find(self, key: str) -> T | None:
        """Return what the cache gave under a key lately, or None."""
        entry = self._outputs.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            self._drop(key)
            return None
        self._outputs.move_to_end(key)
        return entry[2]

    def keep(self, key: str, output: T, num_bytes: int) -> None:
        """Keep what the cache gave under a key; the least recently used make room."""
        self._drop(key)
        if num_bytes > self._max_bytes:
            return
        self._outputs[key] = (self._clock() + self._kept_s, num_bytes, output)
        self._num_bytes += num_bytes
        while self._num_bytes > self._max_bytes:
            self._drop(next(iter(self._outputs)))

    def _drop(self, key: str) -> None:
        entry = self._outputs.pop(key, None)
        if entry is not None:
            self._num_bytes -= entry[1]
