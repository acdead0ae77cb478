"""How often a call is made, how long it takes, and what is never taken for a result."""

import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client import errors
from services.client.errors import (
    CallError,
    OutOfTimeError,
    OverloadedError,
    RefusedCallError,
    UnavailableError,
    UnreachableError,
    UnreadableAnswerError,
)
from services.http.refusals import STATUSES, RefusedRequestError, write_refusal
from tests.services.client.clients import CLIENTS, OpensClient

PASSING = [code for code, status in STATUSES.items() if status in {409, 429, 503}]
SECRET = "what nobody may read in a log"

both_clients = pytest.mark.parametrize("open_client", CLIENTS, ids=["synchronous", "asynchronous"])

Outcome = Callable[[httpx.Request], httpx.Response]


def refusing(code: str, *, retry_after: str | None = "0") -> Outcome:
    status, headers, body = write_refusal(RefusedRequestError(code, "expected another"))
    headers = {**headers, "x-request-id": "req_1"}
    headers.pop("retry-after", None)
    headers |= {} if retry_after is None else {"retry-after": retry_after}
    return lambda _: httpx.Response(status, headers=headers, content=body)


def breaking(kind: type[httpx.TransportError]) -> Outcome:
    def fail(_: httpx.Request) -> httpx.Response:
        raise kind("no")

    return fail


def answering(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"object": "list", "data": []})


class Scripted:
    """Answers with one outcome after the other, the last one again and again."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = outcomes
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._outcomes[min(len(self.requests), len(self._outcomes)) - 1](request)


passing = st.sampled_from(
    [*(refusing(code) for code in PASSING), refusing("overloaded", retry_after=None)]
    + [breaking(kind) for kind in (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError)]
)


@pytest.fixture
def waits() -> Iterator[list[float]]:
    """Let no wait take time; they are noted."""
    noted: list[float] = []

    async def note(seconds: float) -> None:
        noted.append(seconds)

    with patch("time.sleep", noted.append), patch("asyncio.sleep", note):
        yield noted


@both_clients
@given(before=st.lists(passing, max_size=5))
def test_what_passes_is_tried_again_and_no_oftener_than_it_takes(
    open_client: OpensClient, before: Sequence[Outcome]
) -> None:
    script = Scripted(*before, answering)
    with (
        patch("time.sleep"),
        patch("asyncio.sleep", _no_sleep),
        open_client(handler=script) as client,
    ):
        assert client.list_policies().data == []
    assert len(script.requests) == len(before) + 1


async def _no_sleep(_: float) -> None:
    pass


@both_clients
@pytest.mark.parametrize("code", sorted(STATUSES))
def test_each_refusal_is_an_error_of_its_status_and_what_stays_is_not_tried_again(
    open_client: OpensClient, code: str
) -> None:
    script = Scripted(refusing(code, retry_after="3600" if code in PASSING else None))
    with open_client(handler=script) as client, pytest.raises(RefusedCallError) as refused:
        client.list_policies()
    error = refused.value
    assert (error.status, error.code, error.message) == (STATUSES[code], code, "expected another")
    assert error.request_id == "req_1"
    assert isinstance(error, errors.PASSING) == (code in PASSING)
    assert type(error) is not RefusedCallError
    # An hour is longer than the call may take, so there is no second try either.
    assert len(script.requests) == 1


@both_clients
def test_the_front_is_waited_for_as_long_as_it_asks(open_client: OpensClient, waits: list[float]) -> None:
    script = Scripted(refusing("overloaded", retry_after="7"), refusing("not_ready", retry_after="9"), answering)
    with open_client(handler=script) as client:
        client.list_policies()
    assert 7 <= waits[0] <= 8
    assert 9 <= waits[1] <= 10


@both_clients
def test_no_wait_outlasts_the_time_of_the_call(open_client: OpensClient) -> None:
    script = Scripted(refusing("overloaded", retry_after="5"))
    began_s = time.monotonic()
    with open_client(timeout_s=4, handler=script) as client, pytest.raises(OverloadedError) as refused:
        client.list_policies()
    assert refused.value.retry_after_s == 5
    assert (len(script.requests), time.monotonic() - began_s < 3) == (1, True)


@both_clients
def test_what_does_not_pass_is_tried_until_the_time_is_over(open_client: OpensClient) -> None:
    script = Scripted(refusing("model_unavailable", retry_after=None))
    began_s = time.monotonic()
    with open_client(timeout_s=0.5, handler=script) as client, pytest.raises((UnavailableError, OutOfTimeError)):
        client.list_policies()
    assert len(script.requests) > 1
    assert time.monotonic() - began_s < 2
    left = [float(request.headers["x-request-timeout-seconds"]) for request in script.requests]
    assert left == sorted(left, reverse=True)
    assert 0 < left[-1] <= left[0] <= 0.5


@contextmanager
def listening(*, byte_every_s: float | None) -> Iterator[str]:
    """Take connections and answer nothing, or a body that never ends; yield the address."""
    is_over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection:
            if byte_every_s is None:
                is_over.wait()
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            while not is_over.wait(byte_every_s):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            answering = []
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    break
                answering.append(threading.Thread(target=answer, args=(connection,)))
                answering[-1].start()
            for thread in answering:
                thread.join()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            is_over.set()
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()


@both_clients
@pytest.mark.parametrize("byte_every_s", [None, 0.05])
def test_a_front_that_hangs_or_trickles_is_given_up_in_time(
    open_client: OpensClient, byte_every_s: float | None
) -> None:
    with listening(byte_every_s=byte_every_s) as address, open_client(address, timeout_s=0.5) as client:
        began_s = time.monotonic()
        with pytest.raises(OutOfTimeError, match=r"0\.5 s"):
            client.list_policies()
        assert time.monotonic() - began_s < 2


@both_clients
def test_nobody_at_the_address_is_said_at_the_end(open_client: OpensClient) -> None:
    script = Scripted(breaking(httpx.ConnectError))
    with open_client(timeout_s=0.3, handler=script) as client, pytest.raises((UnreachableError, OutOfTimeError)):
        client.list_policies()
    assert len(script.requests) > 1


bodies = st.sampled_from([SECRET, "{", "[]", '{"error": 7}', '{"object": "list", "data": [7]}', ""]) | st.just(
    f'{{"error": {{"message": "{SECRET}", "type": "t", "param": "{SECRET}", "code": "{SECRET}"}}}}'
)


@both_clients
@given(body=bodies, status=st.sampled_from([200, 201, 204, 302, 400, 402, 418, 422, 500, 502, 504]))
def test_what_somebody_else_answers_is_no_result_and_is_not_repeated(
    open_client: OpensClient, body: str, status: int
) -> None:
    script = Scripted(lambda _: httpx.Response(status, text=body, headers={"x-request-id": f"{SECRET}\t"}))
    with open_client(handler=script) as client, pytest.raises(CallError) as refused:
        client.list_policies()
    assert SECRET not in f"{refused.value} {refused.value!r} {refused.value.__cause__}"
    assert len(script.requests) == 1


@both_clients
@given(asked=st.integers(1, 4), answered=st.integers(0, 4))
def test_as_many_results_as_were_asked_for_or_none(open_client: OpensClient, asked: int, answered: int) -> None:
    script = Scripted(lambda _: httpx.Response(200, json={"results": [{"event_id": "e", "error": _ERROR}] * answered}))
    with open_client(handler=script) as client:
        if asked == answered:
            assert len(client.moderate_events([{"event_id": "e"}] * asked)) == asked
            return
        with pytest.raises(UnreadableAnswerError, match=rf"expected {asked} results, got {answered}"):
            client.moderate_events([{"event_id": "e"}] * asked)


_ERROR = {"message": "m", "type": "t", "param": None, "code": None}


@both_clients
def test_a_newer_front_may_say_more(open_client: OpensClient) -> None:
    script = Scripted(lambda _: httpx.Response(200, json={"object": "list", "data": [], "more": 1}))
    with open_client(handler=script) as client:
        assert client.list_policies().data == []


def test_an_error_survives_the_way_between_processes() -> None:
    error = OverloadedError("m", 429, code="overloaded", request_id="r", retry_after_s=1.0)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.retry_after_s) == ("429 overloaded: m (request r)", 1.0)
