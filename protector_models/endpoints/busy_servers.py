"""Asking a busy server again: after which statuses, and when; as it asks for it, else with backoff and jitter."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, runtime_checkable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay, stop_never
from tenacity.wait import wait_random_exponential

BUSY_STATUSES = frozenset({408, 409, 425, 429, 503, 529})
"""What they say is about the server and its load, and never about the one request that was sent."""

_NEVER_DONE = frozenset({501, 505})
"""What the server will not do the next time either."""

_MAX_SPREAD_S = 1.0
"""What is added at most to a wait that a server asks for: else all come back at the same moment."""


@runtime_checkable
class AsksForWait(Protocol):
    """What an error has that tells of a busy server."""

    retry_after_s: float | None
    """How long the server asks to wait; None where it says nothing."""


def may_pass(status: int) -> bool:
    """Tell whether the same request may succeed after a status: the server is busy, or failed."""
    return status in BUSY_STATUSES or (status >= 500 and status not in _NEVER_DONE)


def read_retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks to wait; None where it names no number and no date."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    # A date without a zone is in UTC: RFC 9110, section 5.6.7.
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def asking_again(
    after: type[Exception] | tuple[type[Exception], ...],
    *,
    max_attempts: int | None,
    initial_s: float,
    max_s: float,
    within_s: float | None = None,
    counts: Callable[[BaseException], bool] = lambda _: True,
) -> AsyncRetrying:
    """Return what makes one request again for as long as it raises an error of a kind; the last one is raised.

    Args:
        after: that kind, or several; it may have what `AsksForWait` has.
        max_attempts: how often the request may end in an error that counts; None: as often as there is time.
        initial_s: the first wait is drawn from up to so much, each further one from up to twice as much, unless the
            server asks for another: then it is as long as the server asks, and a little longer.
        max_s: a wait for which nobody asked is at most so long.
        within_s: a wait that would end later after the first try is not begun, whoever asked for it. Without it the
            caller's deadline ends waits.
        counts: tells whether an error is one of `max_attempts`; after others the request is made again until the time
            is over.
    """
    backoff = wait_random_exponential(multiplier=initial_s, max=max_s)
    num_counted = 0

    def wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, AsksForWait) else None
        drawn_s = backoff(state)
        return drawn_s if asked_s is None else asked_s + min(drawn_s, random.uniform(0, _MAX_SPREAD_S))

    def is_used_up(state: RetryCallState) -> bool:
        nonlocal num_counted
        error = state.outcome.exception() if state.outcome else None
        num_counted += error is not None and counts(error)
        return max_attempts is not None and num_counted >= max_attempts

    is_late = stop_never if within_s is None else stop_before_delay(within_s)
    return AsyncRetrying(
        stop=lambda state: is_used_up(state) or is_late(state),
        wait=wait_s,
        retry=retry_if_exception_type(after),
        reraise=True,
    )
