"""Work on threads goes on when nobody waits for it any more: who must know what still runs has it noted."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

Computations = list[Future[Any]]
"""Each is done when its work has ended on its thread, or was given up before a thread took it."""

_noted: ContextVar[Computations | None] = ContextVar("noted", default=None)


@contextmanager
def note_computations() -> Iterator[Computations]:
    """Yield what is begun on threads inside, and by tasks that are made inside."""
    computations: Computations = []
    token = _noted.set(computations)
    try:
        yield computations
    finally:
        _noted.reset(token)


def compute_on(threads: Executor, work: Callable[[], T]) -> Future[T]:
    """Have work done on a thread, and noted."""
    computation = threads.submit(work)
    noted = _noted.get()
    if noted is not None:
        noted.append(computation)
    return computation


def still_run(computations: Computations) -> Computations:
    """Return those that have not ended."""
    return [computation for computation in computations if not computation.done()]
