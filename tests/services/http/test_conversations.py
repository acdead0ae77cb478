"""`POST /v1/conversations:moderate`: the same bytes as on the stream."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.fakes import POISON, FakeGenerator
from protector_models.moderation.policy.policy import TenantOverrides
from protector_models.moderation.verdict import Action, ModeratedConversation
from protector_models.moderation.wire.encoded import EncodedVerdict, moderate_encoded
from tests.builders import event, policy, rule
from tests.services.http.front import HARM_ME, Front, error_of
from tests.wire import encode

PATH = "/v1/conversations:moderate"


def written(response: str | None = "Take the bus.", **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode(response=response))
    return {**found, **fields}


async def test_an_event_comes_back_moderated() -> None:
    answer = await Front().post(PATH, written(HARM_ME))
    assert answer.status_code == 200
    verdict = ModeratedConversation.model_validate_json(answer.content)
    assert (verdict.event_id, verdict.action) == (event().event_id, Action.REWRITE)
    assert verdict.response == "rewritten, attempt 0"
    assert verdict.shadow_action is None


responses = st.sampled_from(["fine", HARM_ME, "harm=0.3", "harm=1 category=violence", "ü"])


@given(responses)
async def test_it_is_byte_for_byte_what_the_stream_publishes(response: str) -> None:
    value = encode(response=response)
    answer = await Front().post(PATH, value)
    [streamed] = await moderate_encoded(Front().moderator, [value], max_bytes=100_000)
    assert isinstance(streamed, EncodedVerdict)
    assert answer.content == streamed.value


@given(st.lists(responses, min_size=1, max_size=5))
async def test_a_batch_has_the_results_of_its_events_one_by_one(given_responses: list[str]) -> None:
    events = [written(response, event_id=f"e{number}") for number, response in enumerate(given_responses)]
    together = (await Front().post(PATH, {"events": events})).json()["results"]
    alone = [(await Front().post(PATH, each)).json() for each in events]
    assert together == alone


async def test_an_event_of_a_batch_that_fails_stands_in_its_place_with_its_reason() -> None:
    events = [written(event_id="a"), written(POISON, event_id="b"), {"event_id": "c", "x": 1}, 7, written(event_id="d")]
    front = Front()
    answer = await front.post(PATH, {"events": events})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result.get("event_id") for result in results] == ["a", "b", "c", None, "d"]
    assert [result["error"]["code"] for result in results if "error" in result] == [
        *("not_judged", "invalid_event", "invalid_event"),
    ]
    labels = {"route": PATH, "action": "failed"}
    assert front.metrics.counts["weir_http_results_total", frozenset(labels.items())] == 3


async def test_an_event_that_has_no_verdict_is_no_verdict() -> None:
    error = error_of(await Front().post(PATH, written(POISON)), 422)
    assert error["code"] == "not_judged"
    assert "Poison" in error["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"event_id": ""},
        {"messages": "text"},
        {"occurred_at": "yesterday"},
        {"surprise": 1},
        {"response": 7},
    ],
)
async def test_what_is_no_event_is_refused_in_the_words_of_the_wire_format(change: dict[str, Any]) -> None:
    assert error_of(await Front().post(PATH, written(**change)), 400)["code"] == "invalid_event"


@pytest.mark.parametrize("body", [{"events": []}, {"events": "x"}, {"events": [], "more": 1}, {"events": None}])
async def test_what_is_no_batch_is_refused(body: object) -> None:
    assert error_of(await Front().post(PATH, body), 400)["code"] == "invalid_value"


async def test_an_event_without_a_response_is_answered_by_the_mllm_and_judged() -> None:
    event_in = written(None, messages=[{"role": "user", "content": HARM_ME}])
    answer = await Front(generator=FakeGenerator()).post(PATH, event_in)
    assert answer.json()["action"] == "rewrite"
    error = error_of(await Front().post(PATH, event_in), 422)
    assert "NoMllmConfigured" in error["message"]


@pytest.mark.parametrize("wish", ["true", "1", "True"])
async def test_in_shadow_the_response_is_delivered_and_the_verdict_says_what_would_be_done(wish: str) -> None:
    front = Front(policy=policy(rules=[rule(0.5, Action.BLOCK)]))
    answer = (await front.post(f"{PATH}?shadow={wish}", written(HARM_ME))).json()
    assert (answer["action"], answer["shadow_action"], answer["response"]) == ("allow", "block", HARM_ME)
    assert answer["policy_version"] == front.policy.revision
    live = (await front.post(f"{PATH}?shadow=false", written(HARM_ME))).json()
    assert (live["action"], live["shadow_action"], live["response"]) == ("block", None, None)


@pytest.mark.parametrize("wish", ["maybe", "", "yes"])
async def test_another_wish_than_true_or_false_is_refused(wish: str) -> None:
    error = error_of(await Front().post(f"{PATH}?shadow={wish}", written()), 400)
    assert (error["code"], error["param"]) == ("invalid_value", "shadow")


async def test_the_rules_of_the_events_tenant_hold() -> None:
    rules = policy(tenants={"acme": TenantOverrides(rules=(rule(0.2, Action.BLOCK),))})
    answer = (await Front(policy=rules).post(PATH, written("harm=0.3", tenant="acme"))).json()
    assert (answer["tenant"], answer["action"]) == ("acme", "block")


async def test_a_tenant_that_the_policy_refuses_has_no_verdict() -> None:
    rules = policy(tenants={"acme": TenantOverrides(shadow=True)}, on_unknown_tenant="refuse")
    error = error_of(await Front(policy=rules).post(PATH, written(tenant="nobody")), 422)
    assert "UnknownTenant" in error["message"]
