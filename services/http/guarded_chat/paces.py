"""How long a stream is held back: when a text was written, and when it went out."""

from collections import deque
from collections.abc import Callable

from services.http.guarded_chat.answers import Pace

_MAX_NOTES = 10_000
"""Arrivals of one text that are remembered; what is written in smaller steps is measured less finely."""


class PaceMeter:
    """Measures one stream."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin to measure.

        Args:
            clock: seconds that never go back.
        """
        self._clock = clock
        self._began_s = clock()
        self._first_written_s: float | None = None
        self._first_released_s: float | None = None
        self._arrivals: dict[tuple[int, str], deque[tuple[int, float]]] = {}
        self._num_pieces = 0
        self._sum_s = 0.0
        self._max_s = 0.0

    def note_written(self, index: int, name: str, length: int) -> None:
        """Take note that a text of an answer has grown to a length."""
        now_s = self._clock()
        if self._first_written_s is None:
            self._first_written_s = now_s
        self._arrivals.setdefault((index, name), deque(maxlen=_MAX_NOTES)).append((length, now_s))

    def note_released(self, index: int, name: str, length: int) -> None:
        """Take note that so much of a text went out, or what stands for it."""
        now_s = self._clock()
        if self._first_released_s is None:
            self._first_released_s = now_s
        arrivals = self._arrivals[index, name]
        while len(arrivals) > 1 and arrivals[0][0] < length:
            arrivals.popleft()
        added_s = now_s - arrivals[0][1]
        self._num_pieces += 1
        self._sum_s += added_s
        self._max_s = max(self._max_s, added_s)

    def read(self) -> Pace:
        """Return what was measured so far."""
        return Pace(
            first_written_ms=self._milliseconds(self._first_written_s),
            first_released_ms=self._milliseconds(self._first_released_s),
            num_pieces=self._num_pieces,
            mean_added_ms=round(self._sum_s / self._num_pieces * 1_000, 1) if self._num_pieces else None,
            max_added_ms=round(self._max_s * 1_000, 1) if self._num_pieces else None,
        )

    def _milliseconds(self, at_s: float | None) -> int | None:
        return None if at_s is None else round((at_s - self._began_s) * 1_000)
