"""How long a request may take: as long as the operator says, or less where the client does."""

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from math import isfinite
from typing import TypeVar

from services.http.bodies import ClientGoneError
from services.http.refusals import RefusedRequestError

T = TypeVar("T")

_CLIENTS_LIMITS = ("x-request-timeout-seconds", "x-stainless-read-timeout")
"""Headers in which a client says how long it waits: one that Ray Serve obeys, too, and one that OpenAI's clients send.
A client cannot have more time so: where the first is 0 or less, Serve has no limit, and the operator's holds."""
_MARGIN = 0.1
_MAX_MARGIN_S = 0.5
"""The answer is to be there before the client, or Serve, gives up: so much earlier."""


def seconds_allowed(headers: Mapping[str, str], *, most_s: float) -> float:
    """Return how long a request may take.

    Args:
        headers: of the request.
        most_s: what the operator allows.
    """
    wanted = [seconds for name in _CLIENTS_LIMITS if (seconds := _to_seconds(headers.get(name))) is not None]
    return min([most_s, *(seconds - min(_MARGIN * seconds, _MAX_MARGIN_S) for seconds in wanted)])


def _to_seconds(written: str | None) -> float | None:
    """Return a positive number of seconds; None where nothing or something else was written."""
    try:
        seconds = float(written or "")
    except ValueError:
        return None
    return seconds if isfinite(seconds) and seconds > 0 else None


async def while_waited_for(work: Awaitable[T], *, gone: Awaitable[None], ends_at_s: float) -> T:
    """Return what some work gives, while somebody waits for it; it is cancelled when nobody does any more.

    Args:
        work: for the client.
        gone: ends when the client has hung up.
        ends_at_s: by the event loop's clock, when the request's time is over.

    Raises:
        RefusedRequestError: the time is over.
        ClientGoneError: the client hung up.
        Exception: whatever the work raised.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone)
    try:
        async with asyncio.timeout_at(ends_at_s):
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGoneError
    except TimeoutError:
        if working.done():
            raise
        raise RefusedRequestError("deadline_passed", "nothing was decided within the time of the request") from None
    finally:
        await _give_up(working, leaving)


async def _give_up(*tasks: "asyncio.Future[T] | asyncio.Future[None]") -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
