"""How often a member was fenced lately: now and then it is after a rebalance, again and again for good."""

from collections.abc import Callable

from pipelines.streaming.broker import FencedError

_MAX_FENCINGS = 5
"""Without a publish between them. After a rebalance there is one; a member that another process has replaced for good
is fenced again each time it has moderated the same records again."""
_FORGOTTEN_S = 3_600.0
"""After so long without another one the last belongs to something that is over: where little comes in, rebalances are
many and publishes few. Moderating the same records again takes less."""


class Fencings:
    """Counts them."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        """Begin with none.

        Args:
            clock: seconds that never go back.
        """
        self._clock = clock
        self._number = 0
        self._last_at = clock()

    def count(self, error: FencedError) -> None:
        """Take note of one.

        Raises:
            FencedError: `error`, where there were too many.
        """
        now = self._clock()
        if now - self._last_at >= _FORGOTTEN_S:
            self._number = 0
        self._number += 1
        self._last_at = now
        if self._number > _MAX_FENCINGS:
            raise error

    def forget(self) -> None:
        """Take note of a publish."""
        self._number = 0
