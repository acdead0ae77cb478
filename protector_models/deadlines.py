"""A deadline around a call to a model."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from protector_models.moderation.errors import ModelUnavailableError

T = TypeVar("T")


async def within(timeout_s: float, call: Callable[[], Awaitable[T]], *, waiting_for: str) -> T:
    """Make a call and wait for its result for at most `timeout_s`; a call that is late is cancelled.

    Args:
        timeout_s: at or below 0 the call is not even made: nobody waits for its result any more.
        call: makes the call.
        waiting_for: what is called, for the message.

    Raises:
        ModelUnavailableError: the time is over.
    """
    if timeout_s <= 0:
        raise ModelUnavailableError(f"{waiting_for}: the deadline had passed before the call was made")
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            return await call()
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise ModelUnavailableError(f"{waiting_for}: no result within {timeout_s:g} s") from error
