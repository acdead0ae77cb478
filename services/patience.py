"""Trying again what failed because something is away: how long waits are, when they end, and who is told of them."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from structlog.typing import FilteringBoundLogger

from protector_models.moderation.errors import DependencyError
from protector_models.moderation.ports import Metrics

T = TypeVar("T")
Errors = type[Exception] | tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTry:
    """A try that failed, and after which there is another one."""

    number: int
    """1, 2, ..."""
    error: BaseException


Report = Callable[[FailedTry], None]
"""Is told of each try that failed, before the wait. Must not block or raise."""


def report_batch_retries(log: FilteringBoundLogger, words: str, metrics: Metrics) -> Report:
    """Return what logs a warning, and counts the batch that is tried again by the error's kind."""

    def report(failed: FailedTry) -> None:
        metrics.count("weir_batch_retries_total", error=type(failed.error).__name__)
        report_tries(log, words)(failed)

    return report


def report_tries(log: FilteringBoundLogger, words: str) -> Report:
    """Return what logs a warning."""

    def report(failed: FailedTry) -> None:
        log.warning(words, attempt=failed.number, error=type(failed.error).__name__, reason=str(failed.error))

    return report


class RetrySettings(Protocol):
    """What the sections of settings have that say how long something is waited for."""

    @property
    def retry_initial_s(self) -> float:
        """Return about how long the first wait is."""

    @property
    def retry_max_s(self) -> float:
        """Return how long a wait is at most."""

    @property
    def retry_give_up_s(self) -> float:
        """Return how long it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long waits are and when they end. With neither end they never do."""

    initial_s: float
    """The first wait is drawn from up to so much, later ones from up to half as long as the outage has lasted more."""
    max_s: float
    give_up_s: float | None = None
    """No try is begun this long after the outage has begun: with the first failure since something succeeded."""
    max_tries: int | None = None
    """So many failures in a row are an end, too."""

    @classmethod
    def from_settings(cls, settings: RetrySettings) -> Self:
        """Return the patience that settings describe."""
        return cls(initial_s=settings.retry_initial_s, max_s=settings.retry_max_s, give_up_s=settings.retry_give_up_s)

    async def keep_trying(
        self,
        call: Callable[[], Awaitable[T]],
        *,
        after: Errors,
        report: Report = lambda _: None,
        progress: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> T:
        """Make a call until it succeeds; what it does may be done twice.

        Args:
            call: makes the call.
            after: errors after which it is made again; any other one ends it.
            report: is told of each try that failed.
            progress: gives how far the work has come. A failure after it has come further begins an outage of its own.
            clock: seconds that never go back.

        Raises:
            Exception: what the last try raised.
        """
        outage = Outage(self, clock=clock, report=report)
        come = progress()
        while True:
            try:
                return await call()
            except after as error:
                if (now := progress()) != come:
                    come = now
                    outage.end()
                await outage.sit_out(error)


class Outage:
    """The outage of something that a loop asks again and again: how long it goes on, and the waits in it."""

    def __init__(self, patience: Patience, *, clock: Callable[[], float], report: Report) -> None:
        """Begin with none.

        Args:
            patience: how long waits are, and when to give up.
            clock: seconds that never go back.
            report: is told of each try that failed.
        """
        self._patience = patience
        self._clock = clock
        self._report = report
        self._since: float | None = None
        self._tries = 0

    async def sit_out(self, error: Exception) -> None:
        """Wait a little before the next try; the longer the outage, the longer.

        Args:
            error: with which the last try ended.

        Raises:
            Exception: `error`, where the outage goes on for longer than the patience.
        """
        now = self._clock()
        if self._since is None:
            # Where somebody has waited within the call, it began before.
            waited_s = error.waited_s if isinstance(error, DependencyError) else 0.0
            self._since, self._tries = now - waited_s, 0
        lasted_s = now - self._since
        self._tries += 1
        if self._is_over(lasted_s):
            if isinstance(error, DependencyError):
                error.waited_s = lasted_s
            raise error
        self._report(FailedTry(number=self._tries, error=error))
        pause_s = min(self._patience.max_s, self._patience.initial_s + lasted_s / 2)
        await asyncio.sleep(random.uniform(pause_s / 2, pause_s))

    def _is_over(self, lasted_s: float) -> bool:
        """Tell whether the patience is."""
        give_up_s, max_tries = self._patience.give_up_s, self._patience.max_tries
        return (give_up_s is not None and lasted_s >= give_up_s) or (max_tries is not None and self._tries >= max_tries)

    def end(self) -> None:
        """Take note of a success."""
        self._since = None
