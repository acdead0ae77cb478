"""The MLLM behind a chat endpoint, asked over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from protector_models.mllms.endpoint import ChatEndpointGenerator
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.messages.message import Message
from protector_models.moderation.model_outputs import ItemFailure
from tests.builders import assistant, event, texts_of, user
from tests.protector_models.endpoints.chat_server import BUSY, ChatServer, Reply, answer, open_chat_server

KEY = "sk-very-secret"


def settings(base_url: str, **fields: Any) -> MllmSettings:
    """Build settings of an endpoint."""
    return MllmSettings(
        **{"kind": "openai", "base_url": base_url, "model": "llava", "api_key": SecretStr(KEY), **fields}
    )


@asynccontextmanager
async def open_generator(server: ChatServer, **fields: Any) -> AsyncIterator[ChatEndpointGenerator]:
    """Open a generator on an endpoint."""
    generator = ChatEndpointGenerator.from_settings(settings(server.base_url, **fields))
    try:
        yield generator
    finally:
        await generator.close()


def echo(_number: int, body: dict[str, Any]) -> Reply:
    """Answer with the last message's text."""
    return answer(f"You said: {body['messages'][-1]['content']}")


async def test_each_conversation_gets_its_answer_in_order() -> None:
    async with open_chat_server(echo) as server, open_generator(server) as generator:
        answers = texts_of(await generator.generate([event(None, prompt=str(number)) for number in range(40)]))

    assert answers == [f"You said: {number}" for number in range(40)]


async def test_nothing_asked_is_nothing_sent() -> None:
    async with open_chat_server(echo) as server, open_generator(server) as generator:
        assert await generator.generate([]) == []
        assert server.bodies == []


async def test_text_and_image_parts_are_passed_on_as_they_are() -> None:
    messages = [
        Message(role="system", content="Be kind."),
        user("What is this?", images=["https://example.org/cat.png"]),
        assistant(None, tool_calls=({"id": "1", "type": "function", "function": None},)),
    ]
    async with open_chat_server(lambda _number, _body: answer("A cat.")) as server, open_generator(server) as generator:
        await generator.generate([event(None, messages=messages)])

    (body,) = server.bodies
    assert body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
            ],
        },
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": None}]},
    ]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("llava", 512, 0.0)
    assert server.keys == [f"Bearer {KEY}"]


async def test_a_busy_endpoint_is_asked_again_after_the_time_it_names() -> None:
    def busy_twice(number: int, _body: dict[str, Any]) -> Reply:
        return BUSY if number < 2 else answer("Here I am.")

    async with open_chat_server(busy_twice) as server, open_generator(server) as generator:
        assert texts_of(await generator.generate([event(None)])) == ["Here I am."]
        assert len(server.bodies) == 3


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
async def test_an_endpoint_that_stays_busy_is_unavailable(status: int) -> None:
    reply = Reply(status=status, headers={"Retry-After": "0"})
    async with (
        open_chat_server(lambda _number, _body: reply) as server,
        open_generator(server, deadline_s=2.0) as generator,
    ):
        with pytest.raises(ModelUnavailableError, match=f"status {status}"):
            await generator.generate([event(None), event(None)])


async def test_a_conversation_that_the_endpoint_fails_on_every_time_fails_alone() -> None:
    def fail_on_poison(_number: int, body: dict[str, Any]) -> Reply:
        poisoned = "poison" in str(body)
        return Reply(status=500, headers={"Retry-After": "0"}) if poisoned else answer("Fine.")

    async with open_chat_server(fail_on_poison) as server, open_generator(server) as generator:
        answers = texts_of(await generator.generate([event(None), event(None, prompt="poison"), event(None)]))

    broken = answers[1]
    assert [answers[0], answers[2]] == ["Fine.", "Fine."]
    assert isinstance(broken, ItemFailure)
    assert broken.error == "EndpointError"
    assert "status 500 on 4 tries, and again alone, where another request was answered" in broken.message


def fine_but(poisoned: Reply) -> Callable[[int, dict[str, Any]], Reply]:
    """Answer every conversation but those that speak of poison."""
    return lambda _number, body: poisoned if "poison" in str(body) else answer("Fine.")


@pytest.mark.parametrize("status", [500, 502, 504, 507])
@pytest.mark.parametrize("prompts", [("poison", "a"), ("a", "poison"), ("poison", "a", "b", "poison", "c")])
async def test_what_an_endpoint_that_answers_others_keeps_failing_on_fails_alone(
    status: int, prompts: tuple[str, ...]
) -> None:
    reply = Reply(status=status, headers={"Retry-After": "0"})
    async with open_chat_server(fine_but(reply)) as server, open_generator(server, concurrency=1) as generator:
        answers = texts_of(await generator.generate([event(None, prompt=prompt) for prompt in prompts]))

    for prompt, outcome in zip(prompts, answers, strict=True):
        if prompt == "poison":
            assert isinstance(outcome, ItemFailure)
            assert outcome.error == "EndpointError"
            assert f"status {status}" in outcome.message
        else:
            assert outcome == "Fine."


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"timeout_s": 0.2, "max_attempts": 2}, "ReadTimeout"),
        ({"deadline_s": 1.0}, "no result within 1 s"),
    ],
    ids=["each try", "the deadline"],
)
async def test_a_conversation_that_the_endpoint_never_finishes_fails_alone(
    limits: dict[str, Any], expected: str
) -> None:
    async with (
        open_chat_server(fine_but(Reply(delay_s=60))) as server,
        open_generator(server, **limits) as generator,
    ):
        answers = texts_of(await generator.generate([event(None), event(None, prompt="poison"), event(None)]))

    assert (answers[0], answers[2]) == ("Fine.", "Fine.")
    assert isinstance(answers[1], ItemFailure)
    assert answers[1].error == "EndpointError"
    assert expected in answers[1].message


async def test_a_failure_ends_no_tries_of_the_others() -> None:
    def late_answer(number: int, body: dict[str, Any]) -> Reply:
        if "poison" in str(body):
            return Reply(status=404)
        return BUSY if number < 4 else answer("Here I am.")

    async with open_chat_server(late_answer) as server, open_generator(server) as generator:
        with pytest.raises(ModelUnavailableError, match="status 404"):
            await generator.generate([event(None, prompt="poison"), event(None)])
        num_asked = len(server.bodies)
        assert texts_of(await generator.generate([event(None)])) == ["Here I am."]
        assert len(server.bodies) == num_asked


async def test_an_endpoint_that_only_refuses_and_fails_is_unavailable() -> None:
    def refuse_or_fail(_number: int, body: dict[str, Any]) -> Reply:
        return Reply(status=400 if "bad" in str(body) else 503, headers={"Retry-After": "0"})

    async with open_chat_server(refuse_or_fail) as server, open_generator(server, deadline_s=2.0) as generator:
        with pytest.raises(ModelUnavailableError, match="status 503"):
            await generator.generate([event(None, prompt="bad"), event(None)])


@pytest.mark.parametrize("status", [400, 403, 413, 422, 302])
async def test_a_refused_conversation_fails_alone_and_is_not_sent_again(status: int) -> None:
    async with (
        open_chat_server(lambda _number, _body: Reply(status=status, body="no")) as server,
        open_generator(server) as generator,
    ):
        (outcome,) = texts_of(await generator.generate([event(None)]))
        assert len(server.bodies) == 1

    assert outcome == ItemFailure(error="RefusedByEndpoint", message=f"status {status}, expected 200")


@pytest.mark.parametrize("status", [401, 404])
async def test_a_key_or_a_path_that_is_wrong_is_no_fault_of_the_conversation(status: int) -> None:
    async with (
        open_chat_server(lambda _number, _body: Reply(status=status)) as server,
        open_generator(server) as generator,
    ):
        with pytest.raises(ModelUnavailableError, match=f"status {status}") as caught:
            await generator.generate([event(None)])

    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(body="<html>"), "InvalidAnswer"),
        (Reply(body={"choices": "none"}), "InvalidAnswer"),
        (Reply(body={"choices": [{"message": {"content": 7}}]}), "InvalidAnswer"),
        (Reply(body={"choices": []}), "EmptyAnswer"),
        (answer(""), "EmptyAnswer"),
        (answer(None), "EmptyAnswer"),
        (Reply(body="", headers={"Content-Encoding": "gzip"}), "InvalidAnswer"),
    ],
    ids=["no JSON", "no choices", "a number", "empty choices", "empty text", "null", "not gzip"],
)
async def test_nonsense_is_a_failure_of_the_one_conversation(reply: Reply, error: str) -> None:
    async with open_chat_server(lambda _number, _body: reply) as server, open_generator(server) as generator:
        (outcome,) = texts_of(await generator.generate([event(None)]))

    assert isinstance(outcome, ItemFailure)
    assert outcome.error == error


async def test_a_model_that_declines_has_answered() -> None:
    reply = answer(None, refusal="I would rather not.")
    async with open_chat_server(lambda _number, _body: reply) as server, open_generator(server) as generator:
        assert texts_of(await generator.generate([event(None)])) == ["I would rather not."]


async def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    async with open_chat_server(echo) as closed:
        pass
    async with open_generator(closed, max_attempts=2) as generator:
        with pytest.raises(ModelUnavailableError, match="ConnectError"):
            await generator.generate([event(None)])


async def test_an_endpoint_that_does_not_answer_is_unavailable_within_the_deadline() -> None:
    async with (
        open_chat_server(echo, silent=True) as server,
        open_generator(server, deadline_s=0.2) as generator,
    ):
        with pytest.raises(ModelUnavailableError, match=r"no result within 0\.2 s"):
            await generator.generate([event(None)])


async def test_a_request_that_takes_too_long_is_made_again() -> None:
    async with (
        open_chat_server(echo, silent=True) as server,
        open_generator(server, timeout_s=0.5, max_attempts=2) as generator,
    ):
        with pytest.raises(ModelUnavailableError, match="ReadTimeout"):
            await generator.generate([event(None)])
        assert len(server.bodies) == 2


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    async with (
        open_chat_server(echo, silent=True) as server,
        open_generator(server, concurrency=3) as generator,
        asyncio.timeout(60),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(generator.generate([event(None) for _ in range(12)]))
        for _ in range(3):
            await server.arrivals.get()
        server.gate.set()

    assert server.most_at_once == 3


def test_revisions_differ_by_endpoint_and_options_and_not_by_key() -> None:
    def revision(**fields: Any) -> str:
        return ChatEndpointGenerator.from_settings(settings(**fields)).revision

    first = revision(base_url="http://127.0.0.1:1/v1")
    assert first == revision(base_url="http://127.0.0.1:1/v1", api_key=None)
    assert first.startswith("llava@")
    assert first != revision(base_url="http://127.0.0.1:2/v1")
    assert first != revision(base_url="http://127.0.0.1:1/v1", temperature=1)


def test_a_kind_without_its_endpoint_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="expected base_url to be set"):
        MllmSettings(kind="openai", model="llava")
    with pytest.raises(ConfigurationError, match="expected base_url and model"):
        ChatEndpointGenerator.from_settings(MllmSettings())


def test_the_key_is_in_no_representation() -> None:
    assert KEY not in repr(settings("http://127.0.0.1:1/v1"))
