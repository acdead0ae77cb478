"""What LiteLLM is told about requests and whole answers."""

from typing import Any

import pytest

from protector_models.moderation.fakes import POISON
from protector_models.moderation.policy.policy import TenantOverrides
from protector_models.moderation.verdict import Action
from services.http.moderators import Moderators
from services.http.settings import HttpSettings, RateLimit, RateLimitSettings
from tests.builders import SAFE_TEXT, policy, rule
from tests.services.http.front import HARM_ME, Front, error_of
from tests.services.http.guardrail_calls import CALL_ID, PATH, ask, remembered, request_body
from tests.services.http.keys import KEYS, bearer

QUESTION = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "How do I get home?"}]
BLOCKING = policy(rules=(rule(0.5, Action.BLOCK, category="hate"),))


async def test_a_harmless_answer_goes_out_as_it_is() -> None:
    told = await ask(Front(), "response", texts=["By bus."])
    assert told == {"action": "NONE", "stream_holdback_chars": [7]}


async def test_a_harmful_answer_is_told_its_rewrite() -> None:
    told = await ask(Front(detoxifier=None), "response", texts=[HARM_ME])
    assert told == {
        "action": "GUARDRAIL_INTERVENED",
        "texts": [SAFE_TEXT],
        "stream_holdback_chars": [len(SAFE_TEXT)],
    }


async def test_of_several_answers_each_is_judged_in_its_place() -> None:
    told = await ask(Front(detoxifier=None), "response", texts=["By bus.", HARM_ME, "On foot."])
    assert told["texts"] == ["By bus.", SAFE_TEXT, "On foot."]


async def test_an_answer_that_the_policy_withholds_is_blocked_and_the_reason_quotes_nothing() -> None:
    told = await ask(Front(policy=BLOCKING), "response", texts=["By bus.", HARM_ME])
    assert told == {"action": "BLOCKED", "blocked_reason": "withheld by the policy: hate"}


async def test_an_answer_is_judged_with_the_question_that_came_before_it() -> None:
    front = Front(images={"data:a": b"a map"})
    parts = [{"type": "text", "text": "Where is this?"}, {"type": "image_url", "image_url": {"url": "data:a"}}]
    messages = [*QUESTION, {"role": "assistant", "content": "By bus."}, {"role": "user", "content": parts}]
    told = await ask(front, "request", texts=["Be kind."], structured_messages=messages, images=["data:a"])
    assert told == {"action": "NONE"}
    assert front.detector.assessed == []
    await ask(front, "response", texts=["In Rome."])
    [exchange] = front.detector.assessed
    assert (exchange.question(), exchange.response) == ("Where is this?\na map", "In Rome.")
    assert front.metrics.total("weir_questions_unknown_total") == 0


async def test_a_request_is_judged_where_the_policy_keeps_harmful_ones_from_the_model() -> None:
    front = Front(policy=policy(judge_prompt="enforce"))
    asked: dict[str, Any] = {"structured_messages": [{"role": "user", "content": HARM_ME}]}
    told = await ask(front, "request", **asked)
    assert told == {"action": "BLOCKED", "blocked_reason": "withheld by the policy: hate"}
    assert (await ask(front, "request", structured_messages=QUESTION))["action"] == "NONE"
    error = error_of(await front.post(PATH, request_body("request", call_id="another", texts=[POISON])), 422)
    assert error["code"] == "not_judged"
    for judging in ("skip", "report"):
        assert (await ask(Front(policy=policy(judge_prompt=judging)), "request", **asked))["action"] == "NONE"
    in_shadow = Front(policy=policy(judge_prompt="enforce", shadow=True))
    assert (await ask(in_shadow, "request", **asked))["action"] == "NONE"


async def test_a_request_that_cannot_be_judged_for_an_outage_is_503() -> None:
    front = Front(policy=policy(judge_prompt="enforce"))
    front.detector.unavailable = True
    assert (
        error_of(await front.post(PATH, request_body("request", texts=["hello"])), 503)["code"] == "model_unavailable"
    )


async def test_a_question_that_does_not_come_as_messages_is_its_texts() -> None:
    front = Front()
    await ask(front, "request", texts=["first", "second"])
    await ask(front, "response", texts=["fine"])
    assert front.detector.assessed[0].prompt == "first\nsecond"


@pytest.mark.parametrize("call_id", [None, "another"])
async def test_an_answer_whose_question_is_not_known_is_judged_alone_and_counted(call_id: str | None) -> None:
    front = Front()
    await ask(front, "request", structured_messages=QUESTION)
    await ask(front, "response", texts=["fine"], call_id=call_id)
    assert front.detector.assessed[0].prompt == ""
    assert front.metrics.total("weir_questions_unknown_total") == 1


async def test_a_question_is_of_its_tenant_alone() -> None:
    front = Front(settings=HttpSettings(keys=KEYS))
    await front.post(PATH, request_body("request", structured_messages=QUESTION), headers=bearer("acme"))
    for tenant in ("kids", "acme"):
        await front.post(PATH, request_body("response", texts=[f"fine, {tenant}"]), headers=bearer(tenant))
    assert [exchange.prompt for exchange in front.detector.assessed] == ["", "How do I get home?"]


async def test_a_keys_tenant_has_its_own_rules() -> None:
    strict = policy(tenants={"kids": TenantOverrides(rules=(rule(0.2, Action.BLOCK),))})
    front = Front(settings=HttpSettings(keys=KEYS), policy=strict)
    body = request_body("response", texts=["harm=0.3"])
    actions = {
        tenant: (await front.post(PATH, body, headers=bearer(tenant))).json()["action"] for tenant in ("acme", "kids")
    }
    assert actions == {"acme": "NONE", "kids": "BLOCKED"}


CALL = {"id": "1", "type": "function", "function": {"name": "send", "arguments": '{"text": "harm=0.9 category=hate"}'}}


async def test_calls_of_tools_are_judged_and_pass_as_they_are_or_not_at_all() -> None:
    front = Front()
    harmless = {**CALL, "function": {"name": "send", "arguments": '{"text": "hello"}'}}
    assert (await ask(front, "response", texts=["Wait."], tool_calls=[harmless]))["action"] == "NONE"
    told = await ask(front, "response", texts=[], tool_calls=[harmless, CALL])
    assert told == {"action": "BLOCKED", "blocked_reason": "withheld by the policy: hate"}


async def test_images_of_an_answer_are_judged_and_pass_as_they_are_or_not_at_all() -> None:
    front = Front(images={"data:a": b"a map", "data:b": b"harm=0.9 category=hate"})
    assert (await ask(front, "response", texts=["Look."], images=["data:a"]))["action"] == "NONE"
    assert (await ask(front, "response", texts=["Look."], images=["data:b"]))["action"] == "BLOCKED"
    unread = await ask(front, "response", images=["https://elsewhere/c.png"])
    assert unread == {"action": "BLOCKED", "blocked_reason": "withheld by the policy: not everything could be judged"}


@pytest.mark.parametrize("input_type", ["request", "response"])
async def test_where_there_is_nothing_nothing_is_to_be_done(input_type: str) -> None:
    assert (await ask(Front(), input_type))["action"] == "NONE"
    assert (await ask(Front(), input_type, texts=[]))["action"] == "NONE"


async def test_a_tenant_in_shadow_has_nothing_withheld() -> None:
    front = Front(policy=policy(shadow=True))
    told = await ask(front, "response", texts=[HARM_ME], tool_calls=[CALL])
    assert told == {"action": "NONE", "stream_holdback_chars": [len(HARM_ME)]}


async def test_what_cannot_be_judged_is_refused_with_a_status_that_blocks_whatever_the_operator_says_of_outages() -> (
    None
):
    error = error_of(await Front().post(PATH, request_body("response", texts=[POISON])), 422)
    assert (error["code"], error["param"]) == ("not_judged", "texts")
    call = {**CALL, "function": {"name": "send", "arguments": f'{{"text": "{POISON}"}}'}}
    error = error_of(await Front().post(PATH, request_body("response", tool_calls=[call])), 422)
    assert (error["code"], error["param"]) == ("not_judged", "tool_calls")


async def test_an_outage_is_503() -> None:
    front = Front()
    front.detector.unavailable = True
    assert (
        error_of(await front.post(PATH, request_body("response", texts=["fine"])), 503)["code"] == "model_unavailable"
    )
    assert (await ask(front, "request", structured_messages=QUESTION))["action"] == "NONE"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input_type"),
        (request_body("other"), "input_type"),
        (request_body("response", texts="text"), "texts"),
        (request_body("response", texts=[1]), "texts[0]"),
        (request_body("request", structured_messages=[1]), "structured_messages"),
        (request_body("request", call_id=""), "litellm_call_id"),
        (request_body("request", call_id="x" * 600), "litellm_call_id"),
        (request_body("response", tool_calls={}), "tool_calls"),
    ],
)
async def test_another_body_is_refused(body: dict[str, Any], param: str) -> None:
    error = error_of(await Front().post(PATH, body), 400)
    assert (error["code"], error["param"]) == ("invalid_value", param)


async def test_results_are_counted_by_what_litellm_is_told() -> None:
    front = Front(policy=policy(rules=(rule(0.5, Action.REWRITE), rule(0.8, Action.BLOCK))))
    for text in ("fine", "harm=0.6", "harm=0.9"):
        await ask(front, "response", texts=[text], call_id=None)
    for action in ("allow", "rewrite", "block"):
        assert (
            front.metrics.counts["weir_http_results_total", frozenset({"route": PATH, "action": action}.items())] == 1
        )


async def test_what_is_remembered_stands_nowhere_in_the_open() -> None:
    front = Front()
    await ask(front, "request", structured_messages=QUESTION)
    await ask(front, "response", texts=["Take the bus to the station, then walk along the river. " * 3])
    mine = remembered(front)
    assert len(mine) == 2
    assert not any(CALL_ID in key or b"home" in value or b"bus" in value for key, value in mine.items())


async def test_what_others_wrote_in_its_place_counts_as_nothing() -> None:
    front = Front()
    await ask(front, "request", structured_messages=QUESTION)
    await ask(front, "response", texts=["fine"])
    await front.cache.put_many(dict.fromkeys(remembered(front), b"foreign"))
    assert (await ask(front, "response", texts=["fine"]))["action"] == "NONE"
    assert front.metrics.total("weir_questions_unknown_total") == 1


OTHER_QUESTION = [{"role": "user", "content": "How do I cook soup?"}]


async def test_a_second_question_under_the_name_of_another_is_blocked() -> None:
    front = Front()
    assert (await ask(front, "request", structured_messages=QUESTION))["action"] == "NONE"
    assert (await ask(front, "request", structured_messages=QUESTION))["action"] == "NONE"
    assert (await ask(front, "request", structured_messages=OTHER_QUESTION))["action"] == "BLOCKED"
    another = await ask(front, "request", call_id="another", structured_messages=OTHER_QUESTION)
    assert another["action"] == "NONE"


@pytest.mark.parametrize("is_other_policy", [True, False])
async def test_what_was_judged_by_another_policy_or_question_is_judged_anew(*, is_other_policy: bool) -> None:
    front = Front()
    text = "It stands in the cupboard behind the door, on the left, below the plates. "
    await ask(front, "request", structured_messages=QUESTION)
    await ask(front, "response", texts=[text])
    num_assessed = len(front.detector.assessed)
    await ask(front, "response", texts=[text])
    assert len(front.detector.assessed) == num_assessed
    if is_other_policy:
        moderator = front.moderator.under(policy(version="stricter", rules=[rule(threshold=0.0)]))
        front.readiness.moderators = Moderators.of(moderator, front.cache)
    else:
        lost = [key for key in remembered(front) if key.endswith(":question")]
        await front.cache.put_many(dict.fromkeys(lost, b"lost"))
    told = await ask(front, "response", texts=[text])
    assert told["action"] == ("GUARDRAIL_INTERVENED" if is_other_policy else "NONE")
    assert front.metrics.total("weir_questions_unknown_total") == (0 if is_other_policy else 1)


async def test_an_answer_costs_items_once_and_calls_of_tools_cost_some() -> None:
    limits = RateLimitSettings(default=RateLimit(items_per_minute=3))
    front = Front(settings=HttpSettings(rate_limits=limits))
    text = "It stands in the cupboard behind the door, on the left, below the plates. "
    for num_words in range(1, 12):
        assert (await ask(front, "response", texts=[text[: 7 * num_words]]))["action"] == "NONE"
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    statuses = [
        (await front.post(PATH, request_body("response", call_id=str(number), texts=[], tool_calls=[call]))).status_code
        for number in range(4)
    ]
    assert statuses == [200, 200, 429, 429]


async def test_a_long_history_costs_nothing_where_nobody_judges_it() -> None:
    limits = RateLimitSettings(default=RateLimit(items_per_minute=2))
    front = Front(settings=HttpSettings(rate_limits=limits, max_items=2))
    history = [{"role": "user", "content": f"question {number}"} for number in range(9)]
    told = await ask(front, "request", structured_messages=history, texts=["question"] * 9)
    assert told["action"] == "NONE"


async def test_more_texts_than_an_answer_has_are_refused() -> None:
    error = error_of(await Front().post(PATH, request_body("response", texts=["a"] * 33)), 400)
    assert error["code"] == "too_many_items"
