"""How much is taken in hand at once: requests, and the bytes of their bodies."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.http.refusals import RefusedRequestError


class Admission:
    """Bounds what one process has in hand. One event loop uses it; nobody waits in it."""

    def __init__(self, *, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.num_requests = 0
        """In hand."""
        self.num_bytes = 0
        """Of their bodies."""

    @contextmanager
    def enter(self) -> Iterator["Place"]:
        """Take a request in hand while the block runs.

        Raises:
            RefusedRequestError: there are too many.
        """
        if self.num_requests >= self._max_requests:
            raise RefusedRequestError("overloaded", f"expected at most {self._max_requests} requests at the same time")
        self.num_requests += 1
        place = Place(self)
        try:
            yield place
        finally:
            self.num_requests -= 1
            self.num_bytes -= place.num_bytes

    def hold(self, num_bytes: int) -> None:
        """Take bytes in hand.

        Raises:
            RefusedRequestError: they are too many, with all others.
        """
        if self.num_bytes + num_bytes > self._max_bytes:
            raise RefusedRequestError("overloaded", "expected fewer bytes of bodies at the same time")
        self.num_bytes += num_bytes


class Place:
    """One request in hand."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.num_bytes = 0
        """Of its body, as far as that has come."""

    def hold(self, num_bytes: int) -> None:
        """Take more of its body in hand; it is given back with the place.

        Raises:
            RefusedRequestError: with the bodies of the others it is too much.
        """
        self._admission.hold(num_bytes)
        self.num_bytes += num_bytes
