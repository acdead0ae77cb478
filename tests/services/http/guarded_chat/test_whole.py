"""Guarded chat, answered whole."""

from collections.abc import Iterator
from typing import Any

import pytest

from protector_models.moderation.errors import (
    ConfigurationError,
    ModelUnavailableError,
    RefusedByModelError,
    UnansweredError,
)
from protector_models.moderation.fake_chat import Chunk, FakeChatModel, chunk_of
from protector_models.moderation.fakes import POISON, FakeHarmDetector
from protector_models.moderation.policy.policy import TenantOverrides
from protector_models.moderation.verdict import Action
from services.http.settings import ChatSettings, HttpSettings, RateLimit, RateLimitSettings
from tests.builders import SAFE_TEXT, policy, rule
from tests.services.http.front import HARM_ME, Front, error_of
from tests.services.http.guarded_chat.listening import ROUTE, USER
from tests.services.http.keys import KEYS, bearer

ID = "any"
CALL: dict[str, Any] = {"index": 0, "id": "call_1", "function": {"name": "go", "arguments": '{"to": "the bus stop"}'}}
HARMFUL_CALL: dict[str, Any] = {**CALL, "function": {"name": "go", "arguments": '{"to": "harm=0.9 category=hate"}'}}


def saying(*texts: str, finish_reason: str = "stop", **delta: Any) -> FakeChatModel:
    """Return an MLLM that answers with these texts, one for each choice."""

    def write(_: Chunk) -> Iterator[Chunk]:
        for index, text in enumerate(texts):
            yield chunk_of(text, index=index, finish_reason=finish_reason, **delta)

    return FakeChatModel(write)


async def ask(chat: FakeChatModel | None, *, front: Front | None = None, **more: object) -> dict[str, Any]:
    front = front or Front(detoxifier=None, chat=chat)
    answer = await front.post(ROUTE, {"messages": USER, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_harmless_answer_goes_out_as_it_is() -> None:
    answer = await ask(saying("Take the bus."), model="weir")
    [choice] = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Take the bus.", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert (answer["object"], answer["model"]) == ("chat.completion", "fake-chat")
    assert answer["moderation"]["output"]["results"][0]["flagged"] is False
    assert answer["moderation"]["input"] == {
        "type": "error",
        "code": "not_asked",
        "message": "neither the policy nor the request asks for it",
    }


async def test_a_harmful_answer_gives_way_to_the_policys_text_and_ends_with_stop() -> None:
    front = Front(detoxifier=None, chat=saying(HARM_ME))
    answer = await ask(None, front=front)
    assert answer["choices"][0]["message"]["content"] == SAFE_TEXT
    assert answer["choices"][0]["finish_reason"] == "stop"
    [result] = answer["moderation"]["output"]["results"]
    assert (result["flagged"], result["weir"]["action"], result["categories"]["hate"]) == (True, "rewrite", True)
    labels = frozenset({("route", ROUTE), ("action", "rewrite")})
    assert front.metrics.counts["weir_http_results_total", labels] == 1


async def test_an_answer_that_is_blocked_is_empty_and_ends_with_content_filter() -> None:
    rules = policy(rules=[rule(action=Action.BLOCK)])
    answer = await ask(None, front=Front(policy=rules, chat=saying(HARM_ME)))
    assert answer["choices"][0]["message"]["content"] == ""
    assert answer["choices"][0]["finish_reason"] == "content_filter"
    assert "harm=" not in str(answer["choices"])


async def test_each_choice_is_judged_for_itself() -> None:
    answer = await ask(saying("Walk.", HARM_ME, "Fly."), n=3)
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["Walk.", SAFE_TEXT, "Fly."]
    results = answer["moderation"]["output"]["results"]
    assert [(result["index"], result["flagged"]) for result in results] == [(0, False), (1, True), (2, False)]


async def test_calls_of_tools_go_out_where_what_they_say_may() -> None:
    answer = await ask(saying("I call.", finish_reason="tool_calls", tool_calls=[CALL]))
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    [call] = choice["message"]["tool_calls"]
    assert call["id"].startswith("call_req_")  # never the model's own, in which a sentence may stand
    assert [{**call, "id": ID}] == [
        {"id": ID, "type": "function", "function": {"name": "go", "arguments": '{"to": "the bus stop"}'}}
    ]


async def test_a_harmful_call_of_a_tool_does_not_go_out() -> None:
    answer = await ask(saying("I call.", finish_reason="tool_calls", tool_calls=[HARMFUL_CALL]))
    [choice] = answer["choices"]
    assert "tool_calls" not in choice["message"]
    assert "harm=" not in str(choice)
    assert (choice["message"]["content"], choice["finish_reason"]) == (f"I call.\n\n{SAFE_TEXT}", "stop")


async def test_a_refusal_is_judged_as_what_is_said() -> None:
    assert (await ask(saying("", refusal="I will not.")))["choices"][0]["message"]["refusal"] == "I will not."
    answer = await ask(saying("", refusal=HARM_ME))
    assert "harm=" not in str(answer["choices"])


async def test_what_nobody_judges_does_not_go_on() -> None:
    def write(_: Chunk) -> Iterator[Chunk]:
        yield {
            **chunk_of("Walk.", finish_reason="stop", reasoning_content=HARM_ME, audio={"transcript": HARM_ME}),
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, HARM_ME: 1},
            "system_fingerprint": HARM_ME,
            "model": HARM_ME,
        }

    class Whole(FakeChatModel):
        async def complete(self, request: Chunk) -> Chunk:
            written: Any = next(iter(write(request)))
            (choice,) = written["choices"]
            return {**written, "choices": [{**choice, "message": choice["delta"]}]}

    answer = await ask(Whole(write))
    assert "harm=" not in str(answer)
    assert answer["usage"]["total_tokens"] == 5


async def test_logprobs_of_an_answer_that_goes_out_as_it_is_go_with_it_without_alternatives() -> None:
    tokens = [
        {"token": word, "logprob": -0.5, "bytes": [1], "top_logprobs": [{"token": "harm=1"}]} for word in ("Wa", "lk.")
    ]

    def choice(text: str) -> Any:
        return {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                    "logprobs": {"content": [*tokens]},
                }
            ]
        }

    class Whole(FakeChatModel):
        text = "Walk."

        async def complete(self, request: Chunk) -> Chunk:
            written: Chunk = choice(self.text)
            return written

    chat = Whole()
    found = (await ask(chat, logprobs=True))["choices"][0]["logprobs"]["content"]
    assert [token["token"] for token in found] == ["Wa", "lk."]
    assert found[0] == {"token": "Wa", "logprob": -0.5, "bytes": [87, 97], "top_logprobs": []}
    chat.text = HARM_ME
    assert (await ask(chat, logprobs=True))["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [*USER, {"role": "assistant", "content": "By"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a", "tool_calls": 7}] * 10_001}, "messages"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": "2"}, "n"),
        ({"n": 10**30}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [""] * 17}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"stream": True, "logprobs": True}, "logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, None),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0]"),
        ({"modalities": ["audio"]}, "modalities[0]"),
        ({"store": True}, "store"),
        ({"web_search_options": {}}, None),
        ({"moderation": {"model": "weir", "policy": {"output": {"mode": "off"}}}}, "moderation.policy.output.mode"),
    ],
)
async def test_what_cannot_be_answered_is_refused_clearly(changed: dict[str, object], param: str | None) -> None:
    front = Front(chat=FakeChatModel())
    error = error_of(await front.post(ROUTE, {"messages": USER, **changed}), 400)
    assert (error["code"], error["param"]) == ("invalid_value", param)
    assert front.chat.asked == []  # type: ignore[union-attr]


async def test_a_model_that_is_not_there_is_not_found() -> None:
    front = Front(chat=FakeChatModel())
    assert error_of(await front.post(ROUTE, {"messages": USER, "model": "gpt-5"}), 404)["code"] == "model_not_found"
    nobody = error_of(await Front(chat=None).post(ROUTE, {"messages": USER}), 404)
    assert (nobody["code"], nobody["message"]) == (
        "model_not_found",
        "no MLLM is configured (mllm): nobody answers chats",
    )


async def test_the_model_is_asked_what_the_caller_wants_and_nothing_that_is_for_weir() -> None:
    front = Front(chat=FakeChatModel())
    asked = {"temperature": 0.5, "stop": ["x"], "seed": 7, "tools": [{"type": "function", "function": {"name": "go"}}]}
    for_weir = {"model": "fake-chat", "moderation": {"model": "weir"}, "store": False, "top_p": None}
    await ask(None, front=front, **asked, **for_weir)
    assert front.chat.asked == [{"messages": USER, **asked}]  # type: ignore[union-attr]


async def test_what_a_model_does_not_heed_is_refused() -> None:
    front = Front(chat=FakeChatModel(fields=frozenset({"seed"})))
    assert (await front.post(ROUTE, {"messages": USER, "seed": 1, "n": 1})).status_code == 200
    assert error_of(await front.post(ROUTE, {"messages": USER, "temperature": 1}), 400)["param"] == "temperature"


def raising(error: Exception) -> FakeChatModel:
    def write(_: Chunk) -> Iterator[Chunk]:
        if error:
            raise error
        yield {}

    return FakeChatModel(write)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RefusedByModelError("RefusedByEndpoint: status 400"), 400, "refused_by_model"),
        (UnansweredError("InvalidAnswer: body"), 502, "invalid_answer"),
        (ModelUnavailableError("http://internal: gone"), 503, "model_unavailable"),
        (ConfigurationError("secret"), 500, "internal_error"),
    ],
)
async def test_a_model_that_does_not_answer_is_told_of(
    error: Exception, status: int, code: str, *, stream: bool
) -> None:
    front = Front(chat=raising(error))
    answer = await front.post(ROUTE, {"messages": USER, "stream": stream})
    assert error_of(answer, status)["code"] == code
    assert str(error) not in answer.text


@pytest.mark.parametrize("index", [1, 10**20])
async def test_choices_that_nobody_asked_for_are_no_answer(index: int) -> None:
    def write(_: Chunk) -> Iterator[Chunk]:
        yield chunk_of("x", index=index, finish_reason="stop")

    front = Front(chat=FakeChatModel(write))
    assert error_of(await front.post(ROUTE, {"messages": USER, "stream": True}), 502)["code"] == "invalid_answer"
    assert error_of(await front.post(ROUTE, {"messages": USER}), 502)["code"] == "invalid_answer"


async def test_no_answer_and_one_twice_are_no_answers() -> None:
    class Whole(FakeChatModel):
        choices: tuple[Any, ...] = ()

        async def complete(self, request: Chunk) -> Chunk:
            return {"choices": list(self.choices)}

    chat = Whole()
    assert error_of(await Front(chat=chat).post(ROUTE, {"messages": USER}), 502)["code"] == "invalid_answer"
    chat.choices = ({"index": 0, "message": {"content": "a"}},) * 2
    assert error_of(await Front(chat=chat).post(ROUTE, {"messages": USER, "n": 2}), 502)["code"] == "invalid_answer"


async def test_a_policy_that_goes_on_without_the_detector_says_that_nothing_was_judged() -> None:
    detector = FakeHarmDetector()
    detector.unavailable = True
    front = Front(detector=detector, policy=policy(on_detector_outage="open"), chat=saying("Walk."))
    answer = await ask(None, front=front)
    assert answer["choices"][0]["message"]["content"] == "Walk."
    assert answer["moderation"]["output"]["code"] == "failed_open"
    assert front.metrics.total("weir_failed_open_total") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_mllm_that_is_away_is_counted(*, stream: bool) -> None:
    front = Front(chat=raising(ModelUnavailableError("gone")))
    assert (await front.post(ROUTE, {"messages": USER, "stream": stream})).status_code == 503
    assert front.metrics.counts["weir_failed_closed_total", frozenset({("dependency", "mllm")})] == 1


async def test_answers_are_items_of_a_tenants_limit() -> None:
    limits = RateLimitSettings(default=RateLimit(items_per_minute=3))
    front = Front(settings=HttpSettings(rate_limits=limits), chat=saying("a", "b"))
    assert (await front.post(ROUTE, {"messages": USER, "n": 2})).status_code == 200
    assert error_of(await front.post(ROUTE, {"messages": USER, "n": 2}), 429)["code"] == "rate_limited"


async def test_what_cannot_be_judged_is_not_delivered() -> None:
    front = Front(chat=saying(f"{POISON} text"))
    answer = await front.post(ROUTE, {"messages": USER})
    assert error_of(answer, 422)["code"] == "not_judged"
    assert POISON not in answer.text


async def test_a_detector_that_is_away_is_503() -> None:
    detector = FakeHarmDetector()
    detector.unavailable = True
    front = Front(detector=detector, chat=saying("Walk."))
    assert error_of(await front.post(ROUTE, {"messages": USER}), 503)["code"] == "model_unavailable"


async def test_the_operator_says_how_many_choices_there_may_be() -> None:
    front = Front(settings=HttpSettings(chat=ChatSettings(max_choices=2)), chat=saying("a", "b"))
    assert (
        error_of(await front.post(ROUTE, {"messages": USER, "n": 3}), 400)["message"] == "n: expected at most 2, got 3"
    )
    assert (await front.post(ROUTE, {"messages": USER, "n": 2})).status_code == 200


async def test_the_keys_tenant_has_its_own_rules() -> None:
    rules = policy(tenants={"kids": TenantOverrides(rules=(rule(0.2, Action.BLOCK),))})
    front = Front(settings=HttpSettings(keys=KEYS), policy=rules, chat=saying("harm=0.3"))
    reasons = {}
    for tenant in ("acme", "kids"):
        answer = await front.post(ROUTE, {"messages": USER}, headers=bearer(tenant))
        reasons[tenant] = answer.json()["choices"][0]["finish_reason"]
    assert reasons == {"acme": "stop", "kids": "content_filter"}
    assert error_of(await front.post(ROUTE, {"messages": USER}), 401)["code"] == "invalid_api_key"


def wish(**modes: str) -> dict[str, Any]:
    return {"moderation": {"model": "weir", "policy": {name: {"mode": mode} for name, mode in modes.items()}}}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_may_have_its_input_judged_and_blocked(*, stream: bool) -> None:
    front = Front(chat=FakeChatModel())
    body = {"messages": [{"role": "user", "content": HARM_ME}], "stream": stream}
    assert (await front.post(ROUTE, {**body, **wish(input="score")})).status_code == 200
    assert len(front.chat.asked) == 1  # type: ignore[union-attr]
    answer = await front.post(ROUTE, {**body, **wish(input="block")})
    assert len(front.chat.asked) == 1, "nobody is asked"  # type: ignore[union-attr]
    assert '"finish_reason":"content_filter"' in answer.text
    assert '"flagged":true' in answer.text
    labels = frozenset({("route", ROUTE), ("action", "block")})
    assert front.metrics.counts["weir_http_results_total", labels] == 1


async def test_a_request_may_have_what_is_flagged_withheld_but_never_have_less_done() -> None:
    asked = await ask(saying(HARM_ME), **wish(output="block"))
    assert asked["choices"][0]["finish_reason"] == "content_filter"
    shadow = Front(policy=policy(shadow=True), chat=saying(HARM_ME))
    assert (await ask(None, front=shadow))["choices"][0]["message"]["content"] == HARM_ME
    assert (await ask(None, front=shadow, **wish(output="block")))["choices"][0]["finish_reason"] == "content_filter"
    less = await ask(saying(HARM_ME), **wish(output="score"))
    assert less["choices"][0]["message"]["content"] == SAFE_TEXT


async def test_an_answer_of_a_form_is_withheld_rather_than_replaced_by_a_text_without_it() -> None:
    answer = await ask(saying(HARM_ME), response_format={"type": "json_object"})
    assert answer["choices"][0]["finish_reason"] == "content_filter"
    plain = await ask(saying(HARM_ME), response_format={"type": "text"})
    assert plain["choices"][0]["message"]["content"] == SAFE_TEXT


@pytest.mark.parametrize("stream", [False, True])
async def test_a_policy_that_judges_requests_is_done_before_the_model_is_asked(*, stream: bool) -> None:
    body = {"messages": [{"role": "user", "content": HARM_ME}], "stream": stream}
    for judging, num_asked, said in (("skip", 1, "not_asked"), ("report", 1, "flagged"), ("enforce", 0, SAFE_TEXT)):
        front = Front(detoxifier=None, policy=policy(judge_prompt=judging), chat=FakeChatModel())
        answer = await front.post(ROUTE, body)
        assert len(front.chat.asked) == num_asked  # type: ignore[union-attr]
        assert said in answer.text
        labels = frozenset({("route", ROUTE), ("action", "rewrite")})
        assert front.metrics.counts["weir_http_results_total", labels] == 1
    blocking = policy(judge_prompt="enforce", rules=[rule(action=Action.BLOCK)])
    front = Front(policy=blocking, chat=FakeChatModel())
    assert '"finish_reason":"content_filter"' in (await front.post(ROUTE, body)).text
    assert front.chat.asked == []  # type: ignore[union-attr]
    shadow = Front(policy=policy(judge_prompt="enforce", shadow=True), chat=FakeChatModel())
    assert "harm=0.9" in (await shadow.post(ROUTE, body)).text
