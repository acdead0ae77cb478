"""What is done once a batch is through, such as counting it: for parts of one batch, once the whole of it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_waiting: ContextVar[list[Callable[[], None]] | None] = ContextVar("_waiting", default=None)


def settle(action: Callable[[], None]) -> None:
    """Do what is due for a batch that is through: at once, or when the block of `settling_together` is left."""
    waiting = _waiting.get()
    if waiting is None:
        action()
    else:
        waiting.append(action)


@contextmanager
def settling_together() -> Iterator[None]:
    """Do what is due for parts of a batch, in their order, once all are through.

    Where one raises, it is left out for all: they are tried again together, and would be counted twice.
    """
    waiting: list[Callable[[], None]] = []
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)
    for action in waiting:
        settle(action)
