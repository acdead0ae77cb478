"""How a call is made, whoever sends it: its time, its tries, and what connections that fail are."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
from tenacity import AsyncRetrying

from protector_models.endpoints.busy_servers import asking_again
from services.client.calls import Call, ResultT
from services.client.errors import PASSING, OutOfTimeError, UnreachableError, UnreadableAnswerError

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0


class CallTime:
    """The time of one call, all its tries and the waits between them included."""

    def __init__(self, timeout_s: float) -> None:
        """Begin it."""
        self._timeout_s = timeout_s
        self._ends_at_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Return what is left of it, more than 0.

        Raises:
            OutOfTimeError: it is over.
        """
        left_s = self._ends_at_s - time.monotonic()
        if left_s <= 0:
            raise self.over()
        return left_s

    def over(self) -> OutOfTimeError:
        """Return the error of a call whose time is over."""
        return OutOfTimeError(f"no answer within {self._timeout_s:g} s")


def tries_of(call: Call[ResultT], timeout_s: float) -> AsyncRetrying:
    """Return what makes a call again: after the wait that the front asks for, or one of its own, within the time."""
    return asking_again(
        PASSING,
        max_attempts=None if call.is_made_again else 1,
        initial_s=_FIRST_WAIT_S,
        max_s=_LONGEST_WAIT_S,
        within_s=timeout_s,
    )


def headers_of(call: Call[ResultT], left_s: float) -> Mapping[str, str]:
    """Return the headers of a try: the front is told how long its answer is waited for."""
    return {**call.headers, "x-request-timeout-seconds": f"{left_s:.3f}"}


def client_headers(api_key: str | None) -> Mapping[str, str]:
    """Return the headers of every call.

    Raises:
        ValueError: the key cannot be sent.
    """
    if api_key is None:
        return {}
    if not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key != ""):
        raise ValueError("api_key: expected visible ASCII characters")
    return {"authorization": f"Bearer {api_key}"}


@contextmanager
def naming_failures(time_of_call: CallTime) -> Iterator[None]:
    """Let what fails on the way be an error of this package."""
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        raise time_of_call.over() from error
    except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
        raise UnreachableError(f"no answer ({type(error).__name__})") from error
    except httpx.HTTPError as error:
        raise UnreadableAnswerError(f"no answer of the front's ({type(error).__name__})") from error
