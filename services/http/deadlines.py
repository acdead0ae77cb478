"""How long a request may take: as long as the operator says, or less where the client does."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from typing import Any, TypeVar

from services.http.bodies import ClientGoneError
from services.http.refusals import RefusedRequestError

T = TypeVar("T")

_LIMIT = "x-request-timeout-seconds"
"""The header in which a client says how long it waits; Ray Serve obeys it, too. A client cannot have more time so:
where it is 0 or less, Serve has no limit, and the operator's holds."""
_LIMIT_OF_SILENCE = "x-stainless-read-timeout"
"""The header in which OpenAI's clients say how long they wait for the next byte: for an answer, that is all of it."""
_MARGIN = 0.1
_MAX_MARGIN_S = 0.5
"""The answer is to be there before the client, or Serve, gives up: so much earlier."""


def seconds_allowed(headers: Mapping[str, str], *, most_s: float) -> float:
    """Return how long a request may take.

    Args:
        headers: of the request.
        most_s: what the operator allows.
    """
    return _least(headers, (_LIMIT, _LIMIT_OF_SILENCE), most_s=most_s)


def seconds_allowed_for_stream(headers: Mapping[str, str], *, most_s: float) -> float:
    """Return how long a request may take whose answer is sent while it is made.

    Args:
        headers: of the request.
        most_s: what the operator allows.
    """
    return _least(headers, (_LIMIT,), most_s=most_s)


def seconds_of_silence(headers: Mapping[str, str], *, most_s: float) -> float:
    """Return after how long without a word a client is to be told that more comes.

    Args:
        headers: of its request.
        most_s: what the operator says.
    """
    patience_s = _to_seconds(headers.get(_LIMIT_OF_SILENCE))
    return most_s if patience_s is None else min(most_s, patience_s / 2)


def _least(headers: Mapping[str, str], names: Sequence[str], *, most_s: float) -> float:
    wanted = [seconds for name in names if (seconds := _to_seconds(headers.get(name))) is not None]
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
        await give_up(working, leaving)


async def give_up(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel what nobody waits for any more, and wait until it has ended."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
