"""Deadlines around calls to a model: from now on, or from the moment when it is their turn."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import TypeVar

from protector_models.moderation.errors import LateError, ModelUnavailableError
from protector_models.running.computations import compute_on

T = TypeVar("T")


_LOOK_S = 1.0
"""How often who waits for a thread looks whether one may still become free."""

_ends_at: ContextVar[float] = ContextVar("ends_at", default=math.inf)


async def within(timeout_s: float, call: Callable[[], Awaitable[T]], *, waiting_for: str) -> T:
    """Make a call and wait for its result for at most `timeout_s`; a call that is late is cancelled.

    Perhaps it was never its turn: that its caller waits no more accuses nobody. `within_turn` does.

    Args:
        timeout_s: at or below 0 the call is not even made: nobody waits for its result any more.
        call: makes the call.
        waiting_for: what is called, for the message.

    Raises:
        ModelUnavailableError: the time is over, or was before.
    """
    if timeout_s <= 0:
        raise ModelUnavailableError(f"{waiting_for}: the deadline had passed before the call was made")
    ends_at = min(_ends_at.get(), asyncio.get_running_loop().time() + timeout_s)
    token = _ends_at.set(ends_at)
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            return await call()
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise ModelUnavailableError(f"{waiting_for}: no result within {timeout_s:g} s") from error
    finally:
        _ends_at.reset(token)


def seconds_left() -> float:
    """Return how long the callers around still wait, as far as `within` knows of them; infinite where none does."""
    return _ends_at.get() - asyncio.get_running_loop().time()


async def within_turn(
    timeout_s: float,
    work: Callable[[], T],
    threads: Executor,
    *,
    waiting_for: str,
    require_hope: Callable[[], None] = lambda: None,
) -> T:
    """Do work on a thread and wait for its result, for at most `timeout_s` from when a thread has taken it.

    The wait for a thread is for the caller to bound: work that is cancelled in it is never begun.

    Args:
        timeout_s: above 0.
        work: what is done; it goes on although nobody waits for it any more.
        threads: do it.
        waiting_for: what is called, for the message.
        require_hope: called now and then in the wait for a thread; may raise, where none will ever be free.

    Raises:
        LateError: the time is over.
        Exception: what `require_hope` raised.
    """
    loop = asyncio.get_running_loop()
    turn = loop.create_future()

    def begin() -> None:
        if not turn.done():
            turn.set_result(None)

    def take_turn() -> T:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(begin)
        return work()

    computation = compute_on(threads, take_turn)
    working = asyncio.wrap_future(computation)
    try:
        while not turn.done() and not working.done():
            await asyncio.wait([turn, working], timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                require_hope()
        async with asyncio.timeout(timeout_s) as deadline:
            return await working
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise LateError(f"{waiting_for}: no result within {timeout_s:g} s") from error
    finally:
        # Both: what wraps a computation tells it only when the loop comes round, and a thread may take it before.
        computation.cancel()
        working.cancel()
