"""Trying again what failed because something is away: how long waits are, when they end, and who is told of them."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from structlog.typing import FilteringBoundLogger
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    stop_never,
    wait_random_exponential,
)

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
    """The first wait is drawn from up to so much, each further one from up to twice as much as the one before."""
    max_s: float
    give_up_s: float | None = None
    """No try is begun this long after the first."""
    max_tries: int | None = None

    @classmethod
    def from_settings(cls, settings: RetrySettings) -> Self:
        """Return the patience that settings describe."""
        return cls(initial_s=settings.retry_initial_s, max_s=settings.retry_max_s, give_up_s=settings.retry_give_up_s)

    async def keep_trying(self, call: Callable[[], Awaitable[T]], *, after: Errors, report: Report | None = None) -> T:
        """Make a call until it succeeds; what it does may be done twice.

        Args:
            call: makes the call.
            after: errors after which it is made again; any other one ends it.
            report: is told of each try that failed.

        Raises:
            Exception: what the last try raised.
        """

        async def attempt() -> T:  # tenacity awaits what it knows to be a coroutine function, and nothing else
            return await call()

        def tell(state: RetryCallState) -> None:
            if report is not None and state.outcome is not None and (error := state.outcome.exception()) is not None:
                report(FailedTry(number=state.attempt_number, error=error))

        tries = AsyncRetrying(
            retry=retry_if_exception_type(after),
            wait=wait_random_exponential(multiplier=self.initial_s, max=self.max_s),
            stop=(stop_never if self.give_up_s is None else stop_after_delay(self.give_up_s))
            | (stop_never if self.max_tries is None else stop_after_attempt(self.max_tries)),
            before_sleep=tell,
            reraise=True,
        )
        return await tries(attempt)


class Outage:
    """The outage of something that a loop asks again and again anyhow: how long it goes on, and the waits in it."""

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
            self._since, self._tries = now, 0
        lasted_s = now - self._since
        if self._patience.give_up_s is not None and lasted_s >= self._patience.give_up_s:
            raise error
        self._tries += 1
        self._report(FailedTry(number=self._tries, error=error))
        pause_s = min(self._patience.max_s, self._patience.initial_s + lasted_s / 2)
        await asyncio.sleep(random.uniform(pause_s / 2, pause_s))

    def end(self) -> None:
        """Take note of a success."""
        self._since = None
