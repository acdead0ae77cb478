"""Bodies that are too large, too slow or cut off; callers that hang up; deadlines; too much at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fakes import FakeHarmDetector
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from services.http.deadlines import seconds_allowed
from services.http.settings import HttpSettings
from tests.services.http.front import Front, error_of

PATH = "/v1/moderations"
JSON = {"content-type": "application/json"}


class HangingDetector(FakeHarmDetector):
    """Scores once it is let go; says whether it was given up."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.was_cancelled = False

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Hang, then score."""
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return await super().assess(exchanges)


async def stream(*chunks: bytes, then_hang: bool = False) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if then_hang:
        await asyncio.Event().wait()


async def post_stream(front: Front, chunks: AsyncIterator[bytes], **headers: str) -> httpx.Response:
    async with front.client() as client:
        return await client.post(PATH, content=chunks, headers={**JSON, **headers})


async def test_a_body_that_says_it_is_too_large_is_refused_unread() -> None:
    answer = await post_stream(Front(), stream(then_hang=True), **{"content-length": str(50_000_000)})
    assert error_of(answer, 413)["code"] == "body_too_large"


async def test_of_a_body_that_is_too_large_no_more_than_that_is_read() -> None:
    front, num_read = Front(settings=HttpSettings(max_body_bytes=1_000)), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal num_read
        while True:
            num_read += 100
            yield b" " * 100

    assert error_of(await post_stream(front, endless()), 413)["code"] == "body_too_large"
    assert num_read <= 1_200


@given(st.integers(min_value=1, max_value=60), st.integers(min_value=1, max_value=10))
async def test_a_body_in_pieces_is_taken_up_to_the_limit_to_the_byte(num_letters: int, piece: int) -> None:
    body = b'{"input":"%b"}' % (b"x" * num_letters)
    pieces = [body[place : place + piece] for place in range(0, len(body), piece)]
    for max_body_bytes, status in ((len(body), 200), (len(body) - 1, 413)):
        front = Front(settings=HttpSettings(max_body_bytes=max_body_bytes))
        assert (await post_stream(front, stream(*pieces))).status_code == status


async def test_a_body_that_trickles_is_given_up_and_its_place_is_free() -> None:
    front = Front(settings=HttpSettings(body_timeout_s=0.05, max_concurrent_requests=1))
    answer = await post_stream(front, stream(b'{"inp', then_hang=True))
    assert error_of(answer, 408)["code"] == "body_too_slow"
    assert (await front.post(PATH, {"input": "fine"})).status_code == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
async def test_a_body_that_says_it_is_no_json_is_refused(content_type: str) -> None:
    answer = await Front().post(PATH, b'{"input": "fine"}', headers={"content-type": content_type})
    assert error_of(answer, 415)["code"] == "unsupported_media_type"


async def test_a_packed_body_is_refused_and_json_with_a_charset_is_not() -> None:
    body = b'{"input": "fine"}'
    packed = await Front().post(PATH, body, headers={"content-encoding": "gzip"})
    assert error_of(packed, 415)["code"] == "unsupported_media_type"
    named = await Front().post(PATH, body, headers={"content-type": "Application/JSON; charset=utf-8"})
    assert named.status_code == 200


async def test_a_request_has_the_operators_time_and_its_model_is_given_up() -> None:
    detector = HangingDetector()
    front = Front(detector=detector, settings=HttpSettings(deadline_s=0.05))
    answer = await front.post(PATH, {"input": "fine"})
    error = error_of(answer, 503)
    assert (error["code"], error["type"]) == ("deadline_passed", "server_error")
    assert answer.headers["retry-after"] == "1"
    assert detector.was_cancelled
    assert front.metrics.total("weir_http_results_total") == 0


@pytest.mark.parametrize("header", ["x-request-timeout-seconds", "x-stainless-read-timeout"])
async def test_a_client_that_waits_less_is_answered_before_it_gives_up(header: str) -> None:
    front = Front(detector=HangingDetector())
    async with asyncio.timeout(10):
        answer = await front.post(PATH, {"input": "fine"}, headers={header: "0.05"})
    assert error_of(answer, 503)["code"] == "deadline_passed"


@given(wanted=st.floats(min_value=0.001, max_value=1e6), most_s=st.floats(min_value=0.01, max_value=1e4))
def test_no_client_has_more_time_than_it_waits_or_the_operator_allows(wanted: float, most_s: float) -> None:
    allowed = seconds_allowed({"x-request-timeout-seconds": str(wanted)}, most_s=most_s)
    assert 0 < allowed <= most_s
    assert allowed < wanted
    assert allowed >= min(most_s, 0.85 * wanted)


@pytest.mark.parametrize("written", ["0", "-1", "nan", "inf", "-inf", "soon", "", "1e999"])
def test_what_is_no_time_leaves_the_operators(written: str) -> None:
    assert seconds_allowed({"x-request-timeout-seconds": written}, most_s=60) == 60


def test_of_two_times_the_shorter_counts() -> None:
    headers = {"x-request-timeout-seconds": "100", "x-stainless-read-timeout": "10"}
    assert seconds_allowed(headers, most_s=60) == 9.5


async def test_beyond_the_requests_that_may_be_in_hand_one_is_told_to_come_again() -> None:
    detector = HangingDetector()
    front = Front(detector=detector, settings=HttpSettings(max_concurrent_requests=1))
    first = asyncio.create_task(front.post(PATH, {"input": "fine"}))
    await detector.begun.wait()
    answer = await front.post(PATH, {"input": "fine"})
    error = error_of(answer, 429)
    assert (error["code"], error["type"]) == ("overloaded", "rate_limit_error")
    assert int(answer.headers["retry-after"]) >= 1
    # Whoever asks whether the process lives is no load.
    assert (await front.get("/healthz")).status_code == 200
    detector.go_on.set()
    assert (await first).status_code == 200
    assert (await front.post(PATH, {"input": "fine"})).status_code == 200


async def test_beyond_the_bytes_that_may_be_in_hand_one_is_told_to_come_again() -> None:
    detector = HangingDetector()
    body = {"input": "x" * 100}
    front = Front(detector=detector, settings=HttpSettings(max_body_bytes=200, max_total_body_bytes=200))
    first = asyncio.create_task(front.post(PATH, body))
    await detector.begun.wait()
    assert error_of(await front.post(PATH, body), 429)["code"] == "overloaded"
    detector.go_on.set()
    await first
    assert (await front.post(PATH, body)).status_code == 200


async def call(front: Front, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send ASGI messages, as a server does; return what comes back."""
    waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    for message in messages:
        waiting.put_nowait(message)
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }
    async with asyncio.timeout(10):
        await front.app(scope, waiting.get, send)
    return sent


GONE = {"type": "http.disconnect"}


async def test_what_nobody_waits_for_any_more_is_given_up() -> None:
    detector = HangingDetector()
    front = Front(detector=detector)
    await call(front, [{"type": "http.request", "body": b'{"input": "fine"}'}, GONE])
    assert detector.was_cancelled
    labels = {"route": PATH, "status": "499", "code": ""}
    assert front.metrics.counts["weir_http_requests_total", frozenset(labels.items())] == 1
    detector.go_on.set()
    assert (await front.post(PATH, {"input": "fine"})).status_code == 200


async def test_a_caller_that_hangs_up_within_its_body_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    front = Front()
    await call(front, [{"type": "http.request", "body": b'{"inp', "more_body": True}, GONE])
    assert front.detector.assessed == []
    assert "unexpected" not in capsys.readouterr().out


async def test_no_tasks_are_left_behind() -> None:
    before = asyncio.all_tasks()
    front = Front(settings=HttpSettings(deadline_s=0.05), detector=HangingDetector())
    await asyncio.gather(*(front.post(PATH, {"input": "fine"}) for _ in range(20)))
    await call(front, [{"type": "http.request", "body": b'{"input": "fine"}'}, GONE])
    assert asyncio.all_tasks() == before
