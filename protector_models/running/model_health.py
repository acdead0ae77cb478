"""What the calls of a model say of its health, so that a check need not wait behind them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from protector_models.moderation.errors import DeviceFailedError, EndlessComputationError, ModelUnavailableError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.running.split_runs import is_total_failure

_LATELY_S = 60.0
"""A model that computed something well within so many seconds is well: it need not be tried out."""

_PATIENCE = 2.0
"""A computation that takes so many times as long as it may will not end."""


class ModelHealth:
    """Watches what a model computes, on whatever threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing known."""
        self._clock = clock
        self._overdue_at: dict[object, float] = {}
        self._failure: DeviceFailedError | None = None
        self._well_at: float | None = None

    @contextmanager
    def computing(self, *, allowed_s: float) -> Iterator[None]:
        """Watch one computation; entered on the thread that computes.

        Args:
            allowed_s: after so many seconds nobody waits for it any more.
        """
        computation = object()
        self._overdue_at[computation] = self._clock() + _PATIENCE * allowed_s
        try:
            yield
        except Exception as error:
            self._well_at = None
            if isinstance(error, DeviceFailedError):
                self._failure = error
            raise
        finally:
            del self._overdue_at[computation]

    def take_note(self, outcomes: Sequence[object]) -> None:
        """Take note of what a computation gave."""
        if is_total_failure(outcomes):
            self._well_at = None
        elif any(not isinstance(outcome, ItemFailure) for outcome in outcomes):
            self._well_at = self._clock()

    def is_computing(self) -> bool:
        """Tell whether something is computed now."""
        return bool(self._overdue_at)

    def was_well_lately(self) -> bool:
        """Tell whether the last computations were good, and not long ago."""
        return self._well_at is not None and self._clock() - self._well_at <= _LATELY_S

    def require_hope(self, revision: str) -> None:
        """Look for what only a new process mends.

        Raises:
            EndlessComputationError: a computation does not end.
            ModelUnavailableError: the device has failed.
        """
        if self._failure is not None:
            # Not the failure itself: what is computed from now on is not to blame for it.
            raise ModelUnavailableError(f"{self._failure}; expected a new process")
        if any(overdue_at < self._clock() for overdue_at in self._overdue_at.copy().values()):
            raise EndlessComputationError(f"{revision}: what it computes does not end; expected a new process")
