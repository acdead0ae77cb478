"""A circuit breaker: something that keeps failing is left alone for a while."""

from collections.abc import Callable


class CircuitBreaker:
    """Says whether a call is worth making.

    Closed, every call is. After `max_failures` failures in a row it opens: no call is, for `open_s`. Then one call may
    find out: if it succeeds the breaker closes, if it fails it stays open for as long again.

    Not thread-safe: one event loop uses it.
    """

    def __init__(self, *, max_failures: int, open_s: float, clock: Callable[[], float]) -> None:
        """Make a closed breaker.

        Args:
            max_failures: failures in a row that open it.
            open_s: how long it stays open.
            clock: monotonic seconds.
        """
        self._max_failures = max_failures
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._open_until_s: float | None = None

    def allows(self) -> bool:
        """Tell whether a call may be made; a call that may must be followed by `succeeded` or `failed`."""
        if self._open_until_s is None:
            return True
        now_s = self._clock()
        if now_s < self._open_until_s:
            return False
        # This call finds out; the others keep away meanwhile, also if it is cancelled and never reports.
        self._open_until_s = now_s + self._open_s
        return True

    def succeeded(self) -> None:
        """Close."""
        self._failures = 0
        self._open_until_s = None

    def failed(self) -> None:
        """Count a failure, and open if it was one too many."""
        self._failures += 1
        if self._failures >= self._max_failures:
            self._open_until_s = self._clock() + self._open_s
