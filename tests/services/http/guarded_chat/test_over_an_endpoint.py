"""Guarded chat in front of a real endpoint on loopback: it hangs up, sends garbage, is slow, or goes on for ever."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from protector_models.mllms.chat_endpoint import EndpointChat
from protector_models.mllms.settings import MllmSettings
from services.http.settings import ChatSettings, HttpSettings
from tests.builders import SAFE_TEXT
from tests.protector_models.endpoints.chat_server import BUSY, ChatServer, Reply, open_chat_server, stream
from tests.services.http.front import Front, error_of
from tests.services.http.guarded_chat.listening import ROUTE, USER, listen, listening

PLAIN = "This part says how to get home by bus, at night as well. "
HARM = "This part is harm=0.9 category=hate and much too long to be passed over. "


FIVE = "Fünf Busse fahren dorthin, und der letzte fährt um Mitternacht.\n"


@asynccontextmanager
async def guarding(
    reply: Reply, *, http: HttpSettings | None = None, **fields: Any
) -> AsyncIterator[tuple[Front, ChatServer]]:
    """Guard an endpoint that answers so."""
    async with open_chat_server(lambda *_: reply) as server:
        settings = MllmSettings(
            **{"kind": "openai", "base_url": server.base_url, "model": "m", "max_attempts": 1, **fields}
        )
        chat = EndpointChat.from_settings(settings)
        try:
            yield Front(settings=http or HttpSettings(), detoxifier=None, chat=chat), server
        finally:
            await chat.close()


def event(content: object) -> bytes:
    """Build an event of an answer, in bytes."""
    chunk = {"choices": [{"index": 0, "delta": {"content": content}}]}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


async def test_a_stream_of_bytes_that_end_anywhere_is_guarded() -> None:
    body = event(PLAIN * 2 + FIVE) + event(HARM) + event(PLAIN) + b"data: [DONE]\n\n"
    async with guarding(Reply(pieces=[body[place : place + 7] for place in range(0, len(body), 7)])) as (front, server):
        heard = await listen(front.app, temperature=0.7)
    assert heard.text() == f"{PLAIN * 2}{FIVE}\n\n{SAFE_TEXT}"
    assert server.bodies[0]["temperature"] == 0.7
    assert server.bodies[0]["model"] == "m"


async def test_an_endpoint_that_hangs_up_in_mid_stream_is_an_error_event() -> None:
    for ending in ("cut", "whole"):
        reply = Reply(pieces=[event(PLAIN * 2), event("secret")], ending=ending)
        async with guarding(reply) as (front, _):
            heard = await listen(front.app)
        assert heard.is_over
        assert heard.error is not None
        assert heard.error["code"] == "model_unavailable"
        assert b"secret" not in heard.body


async def test_garbage_in_mid_stream_is_an_error_event() -> None:
    async with guarding(Reply(pieces=[event(PLAIN), b"data: {\n\n"])) as (front, _):
        heard = await listen(front.app)
    assert heard.error is not None
    assert heard.error["code"] == "invalid_answer"


async def test_invalid_utf8_is_marked_and_judged() -> None:
    pieces = [event(f"{PLAIN}a?b ").replace(b"a?b", b"a\xffb"), b"data: [DONE]\n\n"]
    async with guarding(Reply(pieces=pieces)) as (front, _):
        heard = await listen(front.app)
    assert heard.text() == f"{PLAIN}a\ufffdb "
    assert "\ufffd" in front.detector.assessed[-1].response


async def test_an_endpoint_that_falls_silent_is_late_and_its_reader_is_kept_alive() -> None:
    http = HttpSettings(chat=ChatSettings(keep_alive_s=0.02, deadline_s=0.5))
    async with guarding(Reply(pieces=[event(PLAIN)], ending="silent"), http=http) as (front, _):
        heard = await listen(front.app)
    assert b": keep-alive\n\n" in heard.body
    assert heard.error is not None
    assert heard.error["code"] == "deadline_passed"


async def test_when_the_reader_hangs_up_the_endpoint_is_left() -> None:
    async with guarding(Reply(pieces=[event(PLAIN * 2)], ending="silent"), concurrency=1) as (front, server):
        async with listening(front.app) as listener:
            async with asyncio.timeout(10):
                while PLAIN[:20].encode() not in listener.heard.body:  # noqa: ASYNC110  (it is told by nothing)
                    await asyncio.sleep(0.005)
            listener.has_hung_up.set()
        # Its one connection is free again.
        server.reply = lambda *_: stream({"content": "Yes."})
        assert (await asyncio.wait_for(listen(front.app), timeout=10)).text() == "Yes."


async def test_an_endpoint_that_refuses_is_busy_or_answers_no_json_has_its_status() -> None:
    for reply, status, code in (
        (Reply(status=400, body="the secret reason"), 400, "refused_by_model"),
        (Reply(status=401), 503, "model_unavailable"),
        (Reply(status=500), 503, "model_unavailable"),
        (Reply(body="no JSON"), 502, "invalid_answer"),
    ):
        async with guarding(reply) as (front, _):
            answer = await front.post(ROUTE, {"messages": USER})
        assert error_of(answer, status)["code"] == code
        assert "secret" not in answer.text
    async with guarding(BUSY, deadline_s=0.2) as (front, _):
        assert error_of(await front.post(ROUTE, {"messages": USER, "stream": True}), 503)["code"] == "model_unavailable"
