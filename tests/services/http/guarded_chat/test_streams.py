"""Streams of guarded chat: their events, how they end, and what is left of them afterwards."""

import asyncio
import gc
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

import pytest

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ModelUnavailableError, UnansweredError
from protector_models.moderation.fake_chat import Chunk, FakeChatModel, chunk_of
from protector_models.moderation.fakes import POISON, FakeHarmDetector
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.verdict import Action
from services.http.guarded_chat import event_stream
from services.http.guarded_chat.chat_events import ChatEvents
from services.http.settings import ChatSettings, HttpSettings
from tests.builders import SAFE_TEXT, policy, rule
from tests.services.http.front import Front, error_of
from tests.services.http.guarded_chat.listening import ROUTE, USER, Listener, listen, listening

PLAIN = "This part says how to get home by bus, at night as well. "
HARM = "This part is harm=0.9 category=hate and much too long to be passed over. "
USAGE: Chunk = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}

NUM_STREAMS = int(os.environ.get("GUARDED_STREAMS", "50"))
STREAMS_S = float(os.environ.get("GUARDED_STREAMS_S", "0"))
"""For how long streams are begun anew, each when it has ended; 0: each once."""


def writing(*chunks: Chunk | Exception) -> FakeChatModel:
    """Return an MLLM that writes these chunks, or raises."""

    def write(_: Chunk) -> Iterator[Chunk]:
        for chunk in chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    return FakeChatModel(write)


def front_of(chat: FakeChatModel, **fields: Any) -> Front:
    return Front(detoxifier=None, chat=chat, **fields)


def ends(front: Front) -> dict[str, int]:
    """Return how many streams ended how."""
    return {
        dict(labels)["end"]: number
        for (name, labels), number in front.metrics.counts.items()
        if name == "weir_http_streams_total"
    }


class PacedChat(FakeChatModel):
    """Writes the next chunk when it is let."""

    def __init__(self, *chunks: Chunk) -> None:
        super().__init__()
        self._chunks = chunks
        self.turns = asyncio.Semaphore(0)

    async def stream(self, request: Chunk) -> AsyncGenerator[Chunk, None]:
        """Write."""
        self.asked.append(request)
        self.num_open += 1
        try:
            for chunk in self._chunks:
                await self.turns.acquire()
                yield chunk
        finally:
            self.num_open -= 1


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (what it waits for is no event)
            await asyncio.sleep(0.001)


async def test_the_events_of_a_stream_and_their_order() -> None:
    front = front_of(writing(chunk_of(PLAIN * 2), chunk_of(finish_reason="stop"), USAGE))
    asked = {"moderation": {"model": "weir"}, "stream_options": {"include_usage": True}}
    heard = await listen(front.app, headers={"x-request-id": "abc"}, **asked)
    assert heard.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert heard.headers["cache-control"] == "no-cache"
    assert heard.deltas()[0] == {"role": "assistant", "content": ""}
    assert heard.text() == PLAIN * 2
    *_, told, usage = heard.chunks
    assert (told["choices"], told["moderation"]["output"]["results"][0]["flagged"]) == ([], False)
    assert told["moderation"]["input"]["results"][0]["flagged"] is False
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 3)
    assert heard.events[-1] == "data: [DONE]"
    assert {chunk["id"] for chunk in heard.chunks} == {"chatcmpl-abc"}
    assert len({chunk["created"] for chunk in heard.chunks}) == 1
    assert ends(front) == {"done": 1}


async def test_without_a_wish_what_was_judged_stands_with_the_last_chunk_and_no_chunk_lacks_choices() -> None:
    heard = await listen(front_of(writing(chunk_of(PLAIN), chunk_of(finish_reason="length"), USAGE)).app)
    assert all(chunk["choices"] for chunk in heard.chunks)
    assert heard.chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert heard.told()["input"]["code"] == "not_asked"
    assert heard.chunks[-1]["weir"]["num_pieces"] >= 1
    assert heard.chunks[-1]["weir"]["first_released_ms"] >= heard.chunks[-1]["weir"]["first_written_ms"]


async def test_a_stream_ends_with_the_policys_text_and_the_mllm_writes_no_more() -> None:
    chat = writing(chunk_of(PLAIN), chunk_of(HARM * 3), *[chunk_of(PLAIN)] * 10_000)
    front = front_of(chat)
    heard = await listen(front.app)
    assert heard.text() == f"{PLAIN.rstrip()}\n\n{SAFE_TEXT}"
    assert heard.reasons() == ["stop"]
    assert heard.told()["output"]["results"][0]["flagged"] is True
    assert chat.num_open == 0
    labels = frozenset({("route", ROUTE), ("action", "rewrite")})
    assert front.metrics.counts["weir_http_results_total", labels] == 1


async def test_a_stream_that_is_withheld_ends_with_content_filter() -> None:
    rules = policy(rules=[rule(action=Action.BLOCK)])
    heard = await listen(
        front_of(writing(chunk_of(PLAIN + HARM + PLAIN), chunk_of(finish_reason="stop")), policy=rules).app
    )
    assert heard.text() == PLAIN.rstrip()
    assert heard.reasons() == ["content_filter"]


async def test_one_choice_that_is_over_does_not_end_the_others() -> None:
    chunks = [
        chunk_of(HARM * 2),
        chunk_of(PLAIN, index=1),
        chunk_of(PLAIN, index=1),
        chunk_of(finish_reason="stop", index=1),
    ]
    heard = await listen(front_of(writing(*chunks, USAGE)).app, n=3)
    assert [heard.text(index) for index in range(3)] == [SAFE_TEXT, PLAIN * 2, ""]
    assert [heard.reasons(index) for index in range(3)] == [["stop"]] * 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ModelUnavailableError("gone"), "model_unavailable"),
        (UnansweredError("bad"), "invalid_answer"),
        (KeyError("x"), "internal_error"),
    ],
)
async def test_a_model_that_breaks_off_in_mid_stream_is_the_last_event(error: Exception, code: str) -> None:
    chat = writing(chunk_of(PLAIN * 2), chunk_of("secret"), error)
    front = front_of(chat)
    heard = await listen(front.app)
    assert (heard.status, heard.is_over) == (200, True)
    assert heard.error is not None
    assert heard.error["code"] == code
    assert set(heard.error) == {"message", "type", "param", "code"}
    assert b"secret" not in heard.body
    assert ends(front) == {code: 1}
    requests = frozenset({("route", ROUTE), ("status", "200"), ("code", code)})
    assert front.metrics.counts["weir_http_requests_total", requests] == 1
    assert chat.num_open == 0


async def test_garbage_in_mid_stream_is_an_error_event() -> None:
    pieces: list[Chunk] = [{"choices": "x"}, {"choices": [{"index": 7}]}, {"choices": [{"delta": {"content": 5}}]}]
    for garbage in pieces:
        heard = await listen(front_of(writing(chunk_of(PLAIN), garbage)).app)
        assert heard.error is not None
        assert heard.error["code"] == "invalid_answer"


async def test_a_piece_that_cannot_be_judged_ends_the_stream_as_an_error() -> None:
    front = front_of(writing(chunk_of(PLAIN * 2), chunk_of(f"{POISON} {PLAIN * 2}"), chunk_of(finish_reason="stop")))
    heard = await listen(front.app)
    assert heard.error is not None
    assert heard.error["code"] == "not_judged"
    assert POISON.encode() not in heard.body
    assert ends(front) == {"not_judged": 1}


async def test_a_detector_that_goes_away_in_mid_stream_is_an_error_event() -> None:
    chat = PacedChat(chunk_of(PLAIN * 2), chunk_of(PLAIN * 2), chunk_of(finish_reason="stop"))
    front = front_of(chat)
    async with listening(front.app) as listener:
        chat.turns.release()
        await until(lambda: PLAIN[:20].encode() in listener.heard.body)
        front.detector.unavailable = True
        chat.turns.release()
    assert listener.heard.error is not None
    assert listener.heard.error["code"] == "model_unavailable"
    assert front.app is not None


async def test_text_goes_out_while_the_model_still_writes() -> None:
    chat = PacedChat(chunk_of(PLAIN + PLAIN), chunk_of(finish_reason="stop"))
    async with listening(front_of(chat).app) as listener:
        chat.turns.release()
        await until(lambda: bool(listener.heard.text() if listener.heard.body else ""))
        assert listener.heard.reasons() == []
        chat.turns.release()
    assert listener.heard.text() == PLAIN * 2


async def test_comments_keep_a_stream_alive_while_nothing_goes_out() -> None:
    chat = PacedChat(chunk_of("It"), chunk_of(" is."), chunk_of(finish_reason="stop"))
    front = front_of(chat, settings=HttpSettings(chat=ChatSettings(keep_alive_s=0.01)))
    async with listening(front.app) as listener:
        chat.turns.release()
        await until(lambda: listener.heard.body.count(b": keep-alive\n\n") >= 3)
        chat.turns.release()
        chat.turns.release()
    assert listener.heard.text() == "It is."


async def test_how_long_a_client_waits_for_the_next_byte_limits_the_silence_and_not_the_stream() -> None:
    chat = PacedChat(chunk_of("It"), chunk_of(" is."), chunk_of(finish_reason="stop"))
    chat.turns.release()
    async with listening(front_of(chat).app, {"x-stainless-read-timeout": "0.1"}) as listener:
        await until(lambda: listener.heard.body.count(b": keep-alive\n\n") >= 4)
        chat.turns.release()
        chat.turns.release()
    assert listener.heard.text() == "It is."


async def test_a_client_that_hangs_up_ends_the_writing_and_frees_its_place() -> None:
    chat = PacedChat(*[chunk_of(PLAIN)] * 100)
    front = front_of(chat, settings=HttpSettings(max_concurrent_requests=1))
    before = len(asyncio.all_tasks())
    async with listening(front.app) as listener:
        chat.turns.release()
        await until(lambda: b"assistant" in listener.heard.body)
        refused = await front.post(ROUTE, {"messages": USER})
        assert error_of(refused, 429)["code"] == "overloaded", "a stream holds its place"
        listener.has_hung_up.set()
    assert chat.num_open == 0
    assert not listener.heard.is_over
    assert ends(front) == {"client_gone": 1}
    assert len(asyncio.all_tasks()) == before
    front.readiness.moderators = None
    assert (await front.post(ROUTE, {"messages": USER})).status_code == 503, "there is room again"


async def test_a_client_that_hangs_up_while_something_is_judged_ends_that() -> None:
    class Hanging(FakeHarmDetector):
        is_judging = False

        async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
            self.is_judging = True
            try:
                await asyncio.Event().wait()
            finally:
                self.is_judging = False
            return []

    detector = Hanging()
    chat = writing(chunk_of(PLAIN * 2), chunk_of(finish_reason="stop"))
    async with listening(front_of(chat, detector=detector).app) as listener:
        await until(lambda: detector.is_judging)
        listener.has_hung_up.set()
    assert not detector.is_judging
    assert chat.num_open == 0


async def test_an_answer_that_takes_too_long_ends_with_an_error_event() -> None:
    chat = PacedChat(chunk_of(PLAIN * 2), chunk_of(PLAIN))
    front = front_of(chat, settings=HttpSettings(chat=ChatSettings(deadline_s=0.3)))
    chat.turns.release()
    heard = await listen(front.app)
    assert heard.error is not None
    assert heard.error["code"] == "deadline_passed"
    assert heard.is_over
    assert (ends(front), chat.num_open) == ({"deadline_passed": 1}, 0)


async def test_a_model_that_does_not_begin_in_time_is_refused_with_a_status() -> None:
    chat = PacedChat(chunk_of(PLAIN))
    front = front_of(chat)
    heard = await listen(front.app, headers={"x-request-timeout-seconds": "0.2"})
    assert (heard.status, chat.num_open, ends(front)) == (503, 0, {})


async def test_a_reader_who_reads_nothing_does_not_hold_a_stream_beyond_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "_LAST_WORDS_S", 0.1)
    front = front_of(writing(*[chunk_of(PLAIN)] * 50), settings=HttpSettings(chat=ChatSettings(deadline_s=0.2)))
    listener = Listener(front.app)
    task = asyncio.ensure_future(listener.post({"messages": USER, "stream": True}))
    await until(lambda: bool(listener.heard.body))
    listener.may_read.clear()
    await asyncio.wait_for(task, timeout=5)
    assert ends(front) == {"deadline_passed": 1}
    assert front.chat.num_open == 0  # type: ignore[union-attr]


async def test_nothing_of_a_stream_is_logged_whatever_breaks(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for error in (UnansweredError("hunter2"), KeyError("hunter2"), None):
        chunks: list[Chunk | Exception] = [chunk_of("hunter2 " * 40), *([error] if error else [])]
        heard = await listen(front_of(writing(*chunks)).app, messages=[{"role": "user", "content": "hunter2"}])
        assert heard.is_over
        if error is not None:
            assert heard.error is not None
            assert "hunter2" not in heard.error["message"]
    said = capsys.readouterr()
    assert "hunter2" not in said.out + said.err + caplog.text
    # What nobody foresaw is told at any level that other tests have left.
    assert "unexpected error" in said.out + said.err + caplog.text


def marked(request: Chunk) -> Iterator[Chunk]:
    """Write sentences with the marker that the question asks for."""
    messages: Any = request["messages"]
    marker = messages[-1]["content"]
    for number in range(3):
        yield chunk_of(f"Sentence {number} of the answer has the marker {marker} in it ")
        yield chunk_of(f"and ends with the same one, {marker}. ")
    yield chunk_of(finish_reason="stop")


def count_streams() -> int:
    """Return how many streams are in the memory."""
    gc.collect()
    return sum(isinstance(found, ChatEvents) for found in gc.get_objects())


async def test_streams_at_the_same_time_have_each_their_own_answers_and_leave_nothing_behind() -> None:
    chat = FakeChatModel(marked)
    front = front_of(chat, settings=HttpSettings(max_concurrent_requests=NUM_STREAMS))
    before, streams_before = len(asyncio.all_tasks()), count_streams()
    ends_at_s = time.monotonic() + STREAMS_S

    async def go_on(number: int) -> int:
        num_streams = 0
        while num_streams == 0 or time.monotonic() < ends_at_s:
            marker = f"marker{number}x{num_streams}y"
            heard = await listen(front.app, messages=[{"role": "user", "content": marker}])
            assert heard.events[-1] == "data: [DONE]"
            text = heard.text()
            assert text.count(marker) == text.count("marker") - text.count("the marker") == 6
            num_streams += 1
        return num_streams

    total = sum(await asyncio.gather(*(go_on(number) for number in range(NUM_STREAMS))))
    assert ends(front) == {"done": total}
    assert chat.num_open == 0
    assert len(asyncio.all_tasks()) == before
    assert count_streams() <= streams_before
