"""The generative detoxifier behind a chat endpoint, asked over HTTP."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from protector_models.detoxification.endpoint import EndpointDetoxifier
from protector_models.detoxification.settings import GeneratorSettings
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.model_outputs import ItemFailure, Rewrite
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import RewriteMethod
from tests.builders import exchange
from tests.protector_models.endpoints.chat_server import BUSY, ChatServer, Reply, answer, open_chat_server

KEY = "sk-very-secret"


def request(response: str = "You fool.", *, prompt: str = "Who am I?", attempt: int = 0) -> RewriteRequest:
    """Build a request to rewrite a whole answer."""
    return RewriteRequest(
        exchange=exchange(response, prompt=prompt),
        method=RewriteMethod.GENERATE,
        category="harassment",
        attempt=attempt,
    )


def settings(base_url: str = "http://127.0.0.1:1/v1", **fields: Any) -> GeneratorSettings:
    """Build settings of an endpoint."""
    return GeneratorSettings(
        **{"kind": "openai", "base_url": base_url, "model": "kind-7b", "api_key": SecretStr(KEY), **fields}
    )


@asynccontextmanager
async def open_detoxifier(
    reply: Callable[[int, dict[str, Any]], Reply], **fields: Any
) -> AsyncIterator[tuple[ChatServer, EndpointDetoxifier]]:
    """Open a detoxifier on an endpoint that answers by script."""
    async with open_chat_server(reply) as server:
        detoxifier = EndpointDetoxifier.from_settings(settings(server.base_url, **fields))
        try:
            yield server, detoxifier
        finally:
            await detoxifier.close()


def finished(content: object, finish_reason: str = "stop", **message: object) -> Reply:
    """Build the reply of a model that says why it stopped."""
    return Reply(body={"choices": [{"message": {"content": content, **message}, "finish_reason": finish_reason}]})


def echo_answer(_number: int, body: dict[str, Any]) -> Reply:
    """Answer with the line that stands between the marks of the answer."""
    content = body["messages"][0]["content"]
    return finished(f"Kindly: {content.partition('<answer>')[2].partition('</answer>')[0].strip()}")


async def test_each_response_gets_its_rewrite_in_order() -> None:
    async with open_detoxifier(echo_answer) as (_server, detoxifier):
        rewrites = await detoxifier.rewrite([request(f"Fool {number}.") for number in range(20)])

    expected = [Rewrite(text=f"Kindly: Fool {number}.", detoxifier=detoxifier.revision) for number in range(20)]
    assert rewrites == expected


async def test_nothing_asked_is_nothing_sent() -> None:
    async with open_detoxifier(echo_answer) as (server, detoxifier):
        assert await detoxifier.rewrite([]) == []
        assert server.bodies == []


async def test_question_and_answer_go_out_as_one_user_turn_with_the_budget() -> None:
    async with open_detoxifier(echo_answer, max_new_tokens=99) as (server, detoxifier):
        await detoxifier.rewrite([request("You fool.", prompt="Who am I?")])

    (body,) = server.bodies
    (message,) = body["messages"]
    assert message["role"] == "user"
    assert "<question>\nWho am I?\n</question>" in message["content"]
    assert "<answer>\nYou fool.\n</answer>" in message["content"]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("kind-7b", 99, 0.0)
    assert "seed" not in body
    assert server.keys == [f"Bearer {KEY}"]


async def test_later_attempts_draw_with_a_seed_of_their_own() -> None:
    async with open_detoxifier(echo_answer) as (server, detoxifier):
        for attempt in (1, 2, 1):
            await detoxifier.rewrite([request(attempt=attempt)])
        await detoxifier.rewrite([request("Another fool.", attempt=1)])

    seeds = [body["seed"] for body in server.bodies]
    assert seeds[0] == seeds[2]
    assert len(set(seeds)) == 3
    assert all(body["temperature"] > 0 for body in server.bodies)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (finished(""), "EmptyRewrite"),
        (finished(None), "EmptyRewrite"),
        (finished("  \n"), "EmptyRewrite"),
        (finished("A kind answer that", "length"), "CutRewrite"),
        (finished(None, "length"), "CutRewrite"),
        (finished("I can not. " * 30, "length"), "LoopingRewrite"),
        (finished("You  fool."), "UnchangedRewrite"),
        (finished("A kind", "content_filter"), "FilteredRewrite"),
        (finished(None, "content_filter"), "FilteredRewrite"),
        (finished(None, refusal="I would rather not."), "DeclinedRewrite"),
        (Reply(body="<html>"), "InvalidAnswer"),
        (finished("You \ud800 fool."), "InvalidAnswer"),
        (Reply(body={"choices": []}), "EmptyAnswer"),
        (Reply(status=400), "RefusedByEndpoint"),
    ],
)
async def test_what_is_no_rewrite_is_a_failure_of_its_own_request_with_its_reason(reply: Reply, error: str) -> None:
    def poisoned(_number: int, body: dict[str, Any]) -> Reply:
        return finished("Kind words.") if "Somebody else" in str(body) else reply

    async with open_detoxifier(poisoned) as (_server, detoxifier):
        failure, neighbour = await detoxifier.rewrite([request(), request("Somebody else.")])

    assert isinstance(failure, ItemFailure)
    assert failure.error == error
    assert neighbour == Rewrite(text="Kind words.", detoxifier=detoxifier.revision)


async def test_an_answer_without_a_reason_to_stop_is_taken_as_it_is() -> None:
    async with open_detoxifier(lambda _number, _body: answer("Kind words.")) as (_server, detoxifier):
        assert await detoxifier.rewrite([request()]) == [Rewrite(text="Kind words.", detoxifier=detoxifier.revision)]


async def test_a_busy_endpoint_is_asked_again() -> None:
    def busy_once(number: int, _body: dict[str, Any]) -> Reply:
        return BUSY if number == 0 else finished("Kind words.")

    async with open_detoxifier(busy_once) as (server, detoxifier):
        (rewrite,) = await detoxifier.rewrite([request()])
        assert isinstance(rewrite, Rewrite)
        assert len(server.bodies) == 2


async def test_an_endpoint_that_is_closed_to_us_is_unavailable_and_the_key_stays_hidden() -> None:
    async with open_detoxifier(lambda _number, _body: Reply(status=401)) as (_server, detoxifier):
        with pytest.raises(ModelUnavailableError, match="status 401") as caught:
            await detoxifier.rewrite([request()])
    assert KEY not in str(caught.value)


async def test_an_endpoint_that_is_late_is_unavailable() -> None:
    async with open_detoxifier(lambda _number, _body: Reply(delay_s=60), deadline_s=0.3) as (_server, detoxifier):
        with pytest.raises(ModelUnavailableError, match=r"no result within 0\.3 s"):
            await detoxifier.rewrite([request()])


def test_revisions_differ_by_endpoint_and_budget_and_not_by_key() -> None:
    def revision(**fields: Any) -> str:
        return EndpointDetoxifier.from_settings(settings(**fields)).revision

    assert revision() == revision(api_key=None)
    assert revision().startswith("kind-7b@")
    assert len({revision(), revision(base_url="http://127.0.0.1:2/v1"), revision(max_new_tokens=7)}) == 3


def test_a_url_that_is_none_is_named_with_its_section() -> None:
    with pytest.raises(
        ConfigurationError, match=r"detoxifier\.generator\.base_url: expected a URL, got 'http://host:port'"
    ):
        EndpointDetoxifier.from_settings(settings("http://host:port"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "openai", "model": "m"}, "expected base_url to be set"),
        ({"kind": "transformers"}, "expected model to be set"),
        ({"kind": "transformers", "model": "m", "base_url": "http://h"}, "expected no base_url"),
        ({"kind": "transformers", "model": "m", "api_key": KEY}, "expected no api_key"),
        ({"kind": "openai", "model": "m", "base_url": "http://h", "adapter": "a"}, "expected no adapter"),
        ({"kind": "openai", "model": "m", "base_url": "http://h", "device": "cuda"}, "expected no device"),
        ({"model": "m"}, "kind 'off': expected no model"),
        ({"kind": "openai", "model": "m", "base_url": "http://u:p@h"}, "without user, password"),
    ],
)
def test_keys_that_a_kind_lacks_or_does_not_use_are_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        GeneratorSettings(**fields)
    assert KEY not in str(caught.value)


def test_settings_that_were_written_out_whole_can_be_read_again() -> None:
    for found in (settings(), GeneratorSettings(kind="transformers", model="m", adapter="a"), GeneratorSettings()):
        assert GeneratorSettings.model_validate(found.model_dump()) == found


def test_the_key_is_in_no_representation() -> None:
    assert KEY not in repr(settings())
