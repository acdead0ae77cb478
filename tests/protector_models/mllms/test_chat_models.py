"""One suite over all chats: the fake, an MLLM that answers whole, and an endpoint, over HTTP."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import pytest

from protector_models.mllms.chat_endpoint import EndpointChat
from protector_models.mllms.mllm import open_chat_model
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.errors import ModelUnavailableError, RefusedByModelError, UnansweredError
from protector_models.moderation.fake_chat import FakeChatModel
from protector_models.moderation.fakes import POISON, FakeGenerator
from protector_models.moderation.ports import ChatModel
from services.http.guarded_chat.written import Written
from tests.protector_models.endpoints.chat_server import ChatServer, Reply, open_chat_server, stream

REQUEST: dict[str, Any] = {"messages": [{"role": "user", "content": "Take the bus, please."}]}


def echo(_number: int, body: dict[str, Any]) -> Reply:
    """Answer with the last message's text, as a stream where that is asked for."""
    text = body["messages"][-1]["content"]
    if body.get("stream"):
        return stream(*({"content": f"{word} "} for word in text.split(" ")))
    return Reply(body={"choices": [{"index": 0, "message": {"content": f"{text} "}, "finish_reason": "stop"}]})


@asynccontextmanager
async def fake() -> AsyncIterator[ChatModel]:
    yield FakeChatModel()


@asynccontextmanager
async def answering() -> AsyncIterator[ChatModel]:
    chat = open_chat_model(MllmSettings(kind="transformers", model="m"), FakeGenerator())
    assert chat is not None
    yield chat


@asynccontextmanager
async def endpoint() -> AsyncIterator[ChatModel]:
    async with open_chat_server(echo) as server, connected(server) as chat:
        yield chat


@asynccontextmanager
async def connected(server: ChatServer, **fields: Any) -> AsyncIterator[EndpointChat]:
    settings = MllmSettings(**{"kind": "openai", "base_url": server.base_url, "model": "llava", **fields})
    chat = open_chat_model(settings, None)
    assert isinstance(chat, EndpointChat)
    try:
        yield chat
    finally:
        await chat.close()


every_chat = pytest.mark.parametrize("opened", [fake, answering, endpoint])


@every_chat
async def test_what_is_streamed_is_the_answer(opened: Callable[[], AbstractAsyncContextManager[ChatModel]]) -> None:
    async with opened() as chat:
        assert chat.name
        whole = Written.model_validate(await chat.complete(REQUEST))
        async with aclosing(chat.stream(REQUEST)) as chunks:
            pieces = [Written.model_validate(chunk) async for chunk in chunks]
    said = "".join(choice.delta.content or "" for piece in pieces for choice in piece.choices)
    assert said.strip() == (whole.choices[0].message.content or "").strip() == "Take the bus, please."


@every_chat
async def test_an_answer_may_be_given_up(opened: Callable[[], AbstractAsyncContextManager[ChatModel]]) -> None:
    async with opened() as chat:
        chunks = chat.stream(REQUEST)
        await anext(chunks)
        await chunks.aclose()
        assert [chunk async for chunk in chunks] == []


def test_without_an_mllm_there_is_no_chat() -> None:
    assert open_chat_model(MllmSettings(), None) is None


async def test_the_endpoint_is_asked_as_the_settings_say_where_the_request_does_not() -> None:
    async with open_chat_server(echo) as server, connected(server, temperature=0.5, seed=3, max_tokens=100) as chat:
        await chat.complete({**REQUEST, "temperature": 0.9, "max_completion_tokens": 1_000})
        await chat.complete({**REQUEST, "max_tokens": 7, "tools": []})
        [chunk async for chunk in chat.stream(REQUEST)]
    settled = {"model": "llava", "seed": 3, **REQUEST}
    assert server.bodies == [
        {**settled, "temperature": 0.9, "max_tokens": 100},
        {**settled, "temperature": 0.5, "max_tokens": 7, "tools": []},
        {**settled, "temperature": 0.5, "max_tokens": 100, "stream": True},
    ]


async def read_to_the_end(reply: Reply, **fields: Any) -> list[Any]:
    async with open_chat_server(lambda *_: reply) as server, connected(server, max_attempts=1, **fields) as chat:
        return [chunk async for chunk in chat.stream(REQUEST)]


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


PIECE = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]}
END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


async def test_a_stream_is_over_at_its_end_or_where_each_answer_has_one() -> None:
    assert await read_to_the_end(Reply(pieces=[event(PIECE), event(END)])) == [PIECE, END]
    assert await read_to_the_end(Reply(pieces=[event(PIECE), b"data: [DONE]\n\n", event(PIECE)])) == [PIECE]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(pieces=[event(PIECE)]),
        Reply(pieces=[event(PIECE)], ending="cut"),
        Reply(pieces=[event(END), event({"choices": [{"index": 1, "delta": {"content": "x"}}]})]),
        Reply(pieces=[]),
        Reply(status=500),
        Reply(status=401),
    ],
)
async def test_a_stream_that_breaks_off_is_an_outage(reply: Reply) -> None:
    with pytest.raises(ModelUnavailableError):
        await read_to_the_end(reply)


async def test_a_silent_endpoint_is_late() -> None:
    with pytest.raises(ModelUnavailableError):
        await read_to_the_end(Reply(pieces=[event(PIECE)], ending="silent"), deadline_s=0.3)


@pytest.mark.parametrize(
    "piece",
    [
        b"data: no JSON\n\n",
        b"data: []\n\n",
        b'data: {"choices": "x"}\n\n',
        b'data: {"choices": [{"delta": {"content": "\\ud800"}}]}\n\n',
        event({"error": {"message": "out of memory"}}),
        b"data: " + b"x" * (2 << 20) + b"\n\n",
    ],
)
async def test_garbage_is_no_answer(piece: bytes) -> None:
    with pytest.raises(UnansweredError):
        await read_to_the_end(Reply(pieces=[event(PIECE), piece, event(END)]))


async def test_bytes_that_are_no_utf8_are_marked_in_the_text() -> None:
    broken = event(PIECE).replace(b'"x"', b'"a\xff\xfeb"')
    [chunk, _] = await read_to_the_end(Reply(pieces=[broken[:60], broken[60:], event(END)]))
    assert chunk["choices"][0]["delta"]["content"] == "a\ufffd\ufffdb"


async def test_a_request_that_the_endpoint_refuses_is_told_from_an_answer_that_is_none() -> None:
    async with open_chat_server(lambda *_: Reply(status=400)) as server, connected(server) as chat:
        with pytest.raises(RefusedByModelError):
            await chat.complete(REQUEST)
        with pytest.raises(RefusedByModelError):
            await anext(chat.stream(REQUEST))
    for body in ("", "[]", "no JSON"):
        async with open_chat_server(lambda *_, body=body: Reply(body=body)) as server, connected(server) as chat:
            with pytest.raises(UnansweredError):
                await chat.complete(REQUEST)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([{"role": "user", "content": POISON}], UnansweredError),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], RefusedByModelError),
        ([7], RefusedByModelError),
    ],
)
async def test_what_an_mllm_cannot_be_asked_is_refused(messages: list[Any], error: type[Exception]) -> None:
    async with answering() as chat:
        assert chat.fields == frozenset()
        with pytest.raises(error):
            await chat.complete({"messages": messages})
