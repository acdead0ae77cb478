"""Answers of a chat endpoint that are read as they come."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from protector_models.mllms.endpoint import ChatEndpointGenerator
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.errors import ModelUnavailableError, UnansweredError
from tests.builders import event, texts_of
from tests.protector_models.endpoints.chat_server import BUSY, ChatServer, Reply, answer, open_chat_server, stream


async def read(server: ChatServer, **fields: Any) -> list[str]:
    """Return the pieces of one answer."""
    settings = MllmSettings(**{"kind": "openai", "base_url": server.base_url, "model": "llava", **fields})
    generator = ChatEndpointGenerator.from_settings(settings)
    try:
        return [piece async for piece in generator.stream(event(None, prompt="Where?"))]
    finally:
        await generator.close()


async def read_reply(reply: Reply, **fields: Any) -> list[str]:
    """Return the pieces of an answer that is made of a reply."""
    async with open_chat_server(lambda _number, _body: reply) as server:
        return await read(server, **fields)


async def test_pieces_come_in_order_and_none_is_empty() -> None:
    reply = stream({"role": "assistant"}, {"content": ""}, {"content": "Take "}, {"content": "the bus."})
    async with open_chat_server(lambda _number, _body: reply) as server:
        assert await read(server, temperature=0.5, seed=7, top_p=0.9) == ["Take ", "the bus."]
        (body,) = server.bodies
    assert (body["stream"], body["model"], body["messages"]) == (True, "llava", [{"role": "user", "content": "Where?"}])
    assert (body["temperature"], body["seed"], body["top_p"]) == (0.5, 7, 0.9)


async def test_what_is_not_set_is_not_sent() -> None:
    async with open_chat_server(lambda _number, _body: stream({"content": "a"})) as server:
        await read(server)
    assert server.bodies[0].keys() == {"model", "messages", "max_tokens", "temperature", "stream"}


async def test_events_that_are_cut_into_single_bytes_are_whole_again() -> None:
    whole = stream({"content": "Straße "}, {"content": "\U0001f68c"})
    assert whole.pieces is not None
    single = replace(whole, pieces=[bytes([byte]) for byte in b"".join(whole.pieces)])
    assert "".join(await read_reply(single)) == "Straße \U0001f68c"


async def test_a_model_that_declines_has_answered() -> None:
    assert await read_reply(stream({"refusal": "I would "}, {"refusal": "rather not."})) == ["I would rather not."]


async def test_an_answer_that_says_why_it_ended_needs_no_further_mark() -> None:
    chunk = {"choices": [{"delta": {"content": "Done."}, "finish_reason": "length"}]}
    assert await read_reply(Reply(pieces=[b"data: " + json.dumps(chunk).encode() + b"\n\n"])) == ["Done."]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (stream({"content": "Take "}, done=False), "the connection ended before the answer did"),
        (replace(stream({"content": "Take "}, done=False), ending="cut"), "the connection broke off"),
        (replace(stream({"content": "Take "}, done=False), ending="silent"), "the connection broke off"),
    ],
    ids=["a silent end", "a connection that is lost", "an endpoint that hangs"],
)
async def test_half_an_answer_is_an_error_after_its_pieces(reply: Reply, message: str) -> None:
    pieces: list[str] = []
    async with open_chat_server(lambda _number, _body: reply) as server:
        generator = ChatEndpointGenerator.from_settings(
            MllmSettings(kind="openai", base_url=server.base_url, model="llava", timeout_s=0.3)
        )
        with pytest.raises(ModelUnavailableError, match=message):
            await collect(generator, pieces)
        await generator.close()
        # What was shown cannot be taken back, so nothing is tried again.
        assert len(server.bodies) == 1
    assert pieces == ["Take "]


async def collect(generator: ChatEndpointGenerator, pieces: list[str]) -> None:
    async for piece in generator.stream(event(None)):
        pieces.append(piece)  # noqa: PERF401  # what comes before an error is kept


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([b'data: {"error": {"message": "out of memory"}}\n\n'], "EndpointError: the endpoint failed"),
        ([b"data: <html>\n\n"], "InvalidAnswer: event"),
        ([b'data: {"choices": [{"delta": {"content": 7}}]}\n\n'], "InvalidAnswer: choices.0.delta.content"),
        ([b"data: [DONE]\n\n"], "EmptyAnswer"),
        ([b'data: {"choices": []}\n\n', b"data: [DONE]\n\n"], "EmptyAnswer"),
    ],
    ids=["an error", "no JSON", "a number", "nothing", "no choice"],
)
async def test_nonsense_is_no_answer(pieces: list[bytes], message: str) -> None:
    with pytest.raises(UnansweredError, match=message) as caught:
        await read_reply(Reply(pieces=pieces))
    assert "memory" not in str(caught.value)


async def test_a_busy_endpoint_is_asked_again_before_the_answer_begins() -> None:
    def busy_twice(number: int, _body: dict[str, Any]) -> Reply:
        return BUSY if number < 2 else stream({"content": "Here I am."})

    async with open_chat_server(busy_twice) as server:
        assert await read(server) == ["Here I am."]
        assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        # Asked again until the deadline, which may come in the midst of a request.
        (429, ModelUnavailableError, r"status 429|not finished within 2 s"),
        (401, ModelUnavailableError, "status 401"),
        (500, ModelUnavailableError, "status 500 on 2 tries"),
        (400, UnansweredError, "RefusedByEndpoint: status 400"),
    ],
)
async def test_statuses_mean_what_they_mean_without_streaming(
    status: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await read_reply(Reply(status=status, headers={"Retry-After": "0"}), max_attempts=2, deadline_s=2.0)


async def test_an_answer_that_drips_ends_at_the_deadline() -> None:
    reply = replace(stream({"content": "Take "}, done=False), ending="silent")
    with pytest.raises(ModelUnavailableError, match=r"not finished within 0\.3 s"):
        await read_reply(reply, deadline_s=0.3)


async def test_a_response_that_drips_takes_no_longer_than_a_request_may() -> None:
    reply = Reply(pieces=[b" "] * 3, ending="silent")
    async with open_chat_server(lambda _number, _body: reply) as server, asyncio.timeout(60):
        settings = MllmSettings(
            kind="openai", base_url=server.base_url, model="llava", timeout_s=0.2, max_attempts=2, deadline_s=50
        )
        generator = ChatEndpointGenerator.from_settings(settings)
        with pytest.raises(ModelUnavailableError, match="ReadTimeout"):
            await generator.generate([event(None)])
        await generator.close()
        assert len(server.bodies) == 2


async def test_half_a_body_is_asked_for_again() -> None:
    half = Reply(pieces=[b'{"choices": [{"mess'], ending="cut")

    def half_then_whole(number: int, _body: dict[str, Any]) -> Reply:
        return half if number == 0 else answer("Whole.")

    async with open_chat_server(half_then_whole) as server:
        generator = ChatEndpointGenerator.from_settings(
            MllmSettings(kind="openai", base_url=server.base_url, model="llava")
        )
        assert texts_of(await generator.generate([event(None)])) == ["Whole."]
        await generator.close()


async def test_a_reader_who_leaves_ends_the_request() -> None:
    reply = replace(stream({"content": "Take "}, done=False), ending="silent")
    async with open_chat_server(lambda _number, _body: reply) as server:
        generator = ChatEndpointGenerator.from_settings(
            MllmSettings(kind="openai", base_url=server.base_url, model="llava", concurrency=1)
        )
        for _ in range(2):  # the second one gets the place of the first
            pieces = generator.stream(event(None))
            assert await anext(pieces) == "Take "
            await pieces.aclose()
        await generator.close()
