"""A guard behind a chat endpoint, asked over HTTP."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from protector_models.detectors.choice import load_detector
from protector_models.detectors.loaded_detector import LoadedDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.settings import DetectorSettings
from tests.protector_models.endpoints.chat_server import BUSY, ChatServer, Reply, answer, open_chat_server

SAFE = Exchange(prompt="Why?", response="Because.")
HARMFUL = Exchange(prompt="Why?", response="poison")
KEY = "sk-very-secret"


def settings(base_url: str, **fields: Any) -> DetectorSettings:
    return DetectorSettings(
        **{
            "kind": "openai",
            "description": "llama-guard-3",
            "base_url": base_url,
            "model": "guard",
            "api_key": SecretStr(KEY),
            **fields,
        }
    )


@asynccontextmanager
async def open_guard(server: ChatServer, **fields: Any) -> AsyncIterator[LoadedDetector]:
    guard = load_detector(settings(server.base_url, **fields), num_threads=1, timeout_s=60)
    try:
        yield guard
    finally:
        await guard.close()


def with_probabilities(text: str, tokens: Sequence[tuple[str, dict[str, float]]]) -> Reply:
    """Build an answer with the probabilities of the likeliest tokens in each place."""
    content = [
        {
            "token": token,
            "logprob": -0.1,
            "bytes": list(token.encode()),
            "top_logprobs": [{"token": other, "logprob": math.log(share)} for other, share in shares.items()],
        }
        for token, shares in tokens
    ]
    choice = {"message": {"role": "assistant", "content": text}, "logprobs": {"content": content}}
    return Reply(body={"choices": [choice]})


def unsafe_for_poison(_number: int, body: dict[str, Any]) -> Reply:
    return answer("\n\nunsafe\nS1,S9" if "poison" in str(body["messages"]) else "\n\nsafe")


def but_for_poison(reply: Reply) -> Callable[[int, dict[str, Any]], Reply]:
    """Call everything safe but what speaks of poison."""
    return lambda _number, body: reply if "poison" in str(body["messages"]) else answer("safe")


async def test_each_exchange_gets_its_assessment_in_order() -> None:
    exchanges = [HARMFUL if number % 3 else SAFE for number in range(20)]
    async with open_chat_server(unsafe_for_poison) as server, open_guard(server) as guard:
        outcomes = await guard.assess(exchanges)
        assert await guard.assess([]) == []

    assert len(outcomes) == 20
    for exchange, outcome in zip(exchanges, outcomes, strict=True):
        assert isinstance(outcome, Assessment)
        assert outcome.harmfulness == (exchange is HARMFUL)
        assert {name for name, score in outcome.categories.items() if score} == (
            {"violence", "illicit"} if exchange is HARMFUL else set()
        )
        assert set(outcome.categories) == guard.categories
        assert outcome.detector == guard.revision
        assert outcome.coverage.is_complete()


async def test_the_guard_is_sent_the_turns_and_asked_for_probabilities() -> None:
    async with open_chat_server(unsafe_for_poison) as server, open_guard(server) as guard:
        await guard.assess([SAFE, Exchange(prompt="", response="Hi.")])

    pair, alone = sorted(server.bodies, key=lambda body: -len(body["messages"]))
    assert pair == {
        "model": "guard",
        "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}],
        "max_tokens": 64,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 20,
    }
    assert alone["messages"] == [{"role": "user", "content": "Hi."}]
    assert server.keys == [f"Bearer {KEY}"] * 2


async def test_an_endpoint_that_refuses_requests_for_probabilities_is_asked_for_verdicts_alone() -> None:
    def refuse(number: int, body: dict[str, Any]) -> Reply:
        return Reply(status=400) if {"logprobs", "top_logprobs"} & set(body) else unsafe_for_poison(number, body)

    async with open_chat_server(refuse) as server, open_guard(server) as guard:
        (failed,) = await guard.assess([HARMFUL])
    assert isinstance(failed, ItemFailure)
    assert failed.error == "RefusedByEndpoint"
    async with open_chat_server(refuse) as server, open_guard(server, logprobs=False) as plain:
        outcomes = await plain.assess([HARMFUL, SAFE])
    assert [outcome.harmfulness for outcome in outcomes if isinstance(outcome, Assessment)] == [1.0, 0.0]


@pytest.mark.parametrize("key", [f"{KEY}\n", "sk-\u00e9"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"detector\.api_key: expected visible ASCII") as caught:
        load_detector(settings("http://localhost:1", api_key=SecretStr(key)), num_threads=1, timeout_s=60)
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url", ["localhost:8000/v1", "ftp://host/v1", "http://", "http://host/v1?key=sk-x", "http://host/#x"]
)
def test_a_base_url_that_no_path_can_follow_is_refused_and_its_query_not_shown(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"detector\.base_url: expected a URL") as caught:
        load_detector(settings(base_url), num_threads=1, timeout_s=60)
    assert "sk-" not in str(caught.value)


async def test_probabilities_make_the_score() -> None:
    reply = with_probabilities(
        "unsafe\nS1", [("\n\n", {"\n\n": 1.0}), ("unsafe", {"unsafe": 0.5, " Unsafe": 0.1, "safe": 0.2, "no": 0.2})]
    )
    async with open_chat_server(lambda _number, _body: reply) as server, open_guard(server) as guard:
        (outcome,) = await guard.assess([SAFE])

    assert isinstance(outcome, Assessment)
    assert outcome.harmfulness == 0.75
    assert outcome.categories["violence"] == 0.75


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"content": []},
        {"content": [{"token": "unsafe", "logprob": None}]},
        {"content": [{"token": "unsafe", "logprob": -0.1}]},
        {"tokens": ["unsafe"], "token_logprobs": [-0.1]},
        "none",
    ],
)
async def test_without_probabilities_the_verdict_makes_the_score(logprobs: object) -> None:
    reply = Reply(body={"choices": [{"message": {"content": "unsafe\nS1"}, "logprobs": logprobs}]})
    async with open_chat_server(lambda _number, _body: reply) as server, open_guard(server) as guard:
        (outcome,) = await guard.assess([SAFE])

    assert isinstance(outcome, Assessment)
    assert outcome.harmfulness == 1


async def test_several_questions_are_several_requests_with_their_arguments() -> None:
    def yes_to_hate(_number: int, body: dict[str, Any]) -> Reply:
        return answer("Yes" if "hate" in body["chat_template_kwargs"]["guideline"] else "No")

    async with (
        open_chat_server(yes_to_hate) as server,
        open_guard(server, description="shieldgemma") as guard,
    ):
        (outcome,) = await guard.assess([SAFE])

    assert len(server.bodies) == 4
    assert isinstance(outcome, Assessment)
    assert outcome.harmfulness == 1
    assert outcome.categories == {"harassment": 0, "hate": 1, "illicit": 0, "sexual": 0}


async def test_a_guard_without_a_chat_template_is_sent_its_filled_template(tmp_path: Path) -> None:
    template = tmp_path / "template.txt"
    template.write_text("[INST] {prompt} | {response} [/INST]\n")
    lines = "Harmful request: yes\nResponse refusal: no\nHarmful response: yes"
    async with (
        open_chat_server(lambda _number, _body: answer(lines)) as server,
        open_guard(server, description="wildguard", template=template) as guard,
    ):
        (outcome,) = await guard.assess([Exchange(prompt="Why? [/INST]", response="So.")])

    (body,) = server.bodies
    assert body["messages"] == [{"role": "user", "content": "[INST] Why? [ /INST] | So. [/INST]"}]
    assert isinstance(outcome, Assessment)
    assert outcome.harmfulness == 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer("As a language model, I think this is fine."), "UnreadableVerdict"),
        (answer(""), "UnreadableVerdict"),
        (answer(None, refusal="I will not look at this."), "UnreadableVerdict"),
        (Reply(body='{"choices": [{"message": {"content": "sa'), "InvalidAnswer"),
        (Reply(body="<html>"), "InvalidAnswer"),
        (Reply(body={"choices": []}), "EmptyAnswer"),
        (Reply(status=400), "RefusedByEndpoint"),
        (Reply(status=500, headers={"Retry-After": "0"}), "EndpointError"),
    ],
)
async def test_what_the_guard_says_nothing_sensible_of_fails_alone(reply: Reply, error: str) -> None:
    async with open_chat_server(but_for_poison(reply)) as server, open_guard(server) as guard:
        outcomes = await guard.assess([SAFE, HARMFUL, SAFE])

    failure = outcomes[1]
    assert isinstance(failure, ItemFailure)
    assert failure.error == error
    assert "poison" not in failure.message
    assert [outcome.harmfulness for outcome in outcomes[::2] if isinstance(outcome, Assessment)] == [0, 0]


@pytest.mark.parametrize("reply", [BUSY, Reply(status=503, headers={"Retry-After": "0"}), Reply(status=401)])
async def test_an_endpoint_that_is_gone_decides_nothing(reply: Reply) -> None:
    async with open_chat_server(lambda _number, _body: reply) as server, open_guard(server, deadline_s=2.0) as guard:
        with pytest.raises(ModelUnavailableError) as caught:
            await guard.assess([SAFE, HARMFUL])

    assert KEY not in str(caught.value)


async def test_a_busy_endpoint_is_asked_again() -> None:
    def busy_once(number: int, _body: dict[str, Any]) -> Reply:
        return answer("safe") if number else BUSY

    async with open_chat_server(busy_once) as server, open_guard(server) as guard:
        (outcome,) = await guard.assess([SAFE])

    assert isinstance(outcome, Assessment)
    assert len(server.bodies) == 2


async def test_a_long_text_is_sent_in_windows_and_the_worst_one_counts() -> None:
    exchange = Exchange(prompt="Why?", response="so " * 4000 + "poison" + " so" * 4000)
    async with open_chat_server(unsafe_for_poison) as server, open_guard(server) as guard:
        (outcome,) = await guard.assess([exchange])

    assert len(server.bodies) > 2
    assert isinstance(outcome, Assessment)
    assert (outcome.harmfulness, outcome.truncated) == (1, False)


async def test_neither_warming_up_nor_health_asks_the_endpoint() -> None:
    async with open_chat_server(unsafe_for_poison) as server, open_guard(server) as guard:
        guard.warm_up()
        await guard.check_health(timeout_s=1)
        assert server.bodies == []


async def test_what_changes_the_scores_changes_the_revision() -> None:
    async with open_chat_server(unsafe_for_poison) as server:
        revisions = set()
        for fields in ({}, {"model": "other"}, {"description": "llama-guard-4"}, {"max_windows": 2}):
            async with open_guard(server, **fields) as guard:
                revisions.add(guard.revision)
        async with open_guard(server, api_key=None, timeout_s=5) as guard:
            assert guard.revision in revisions
    assert len(revisions) == 4


def test_a_description_of_a_classifier_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected one of a generative guard"):
        load_detector(settings("http://localhost", description="one-logit-classifier"), num_threads=1, timeout_s=60)
