"""Ways beside the content by which something unjudged could go to the model, or out."""

import json
from typing import Any

import pytest

from protector_models.moderation.fakes import POISON
from tests.builders import policy
from tests.protector_models.endpoints.chat_server import Reply
from tests.services.http.front import Front, error_of
from tests.services.http.guarded_chat.listening import ROUTE
from tests.services.http.guarded_chat.test_over_an_endpoint import guarding
from tests.services.http.guarded_chat.test_whole import ask, saying

TOOL = {
    "type": "function",
    "function": {"name": "go", "parameters": {"type": "object", "properties": {"to": {"type": "string"}}}},
}
AUDIO = {"type": "input_audio", "input_audio": {"data": "aGVsbG8=", "format": "wav"}}


def calling(arguments: dict[str, object]) -> dict[str, Any]:
    return {"index": 0, "id": "I_will_hurt_you", "function": {"name": "go", "arguments": json.dumps(arguments)}}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_that_cannot_be_judged_does_not_reach_the_model(*, stream: bool) -> None:
    chat = saying("Take the bus.")
    front = Front(policy=policy(judge_prompt="enforce"), chat=chat)
    body = {"messages": [{"role": "user", "content": f"{POISON} x"}], "stream": stream}
    assert error_of(await front.post(ROUTE, body), 422)["code"] == "not_judged"
    assert not chat.asked


@pytest.mark.parametrize("text", ["", "How do I get home?"])
async def test_parts_that_nothing_reads_are_no_harmless_request(text: str) -> None:
    chat = saying("Take the bus.")
    front = Front(policy=policy(judge_prompt="enforce"), chat=chat)
    content = [*([{"type": "text", "text": text}] if text else []), AUDIO]
    answer = await front.post(ROUTE, {"messages": [{"role": "user", "content": content}]})
    assert not chat.asked
    assert answer.json()["choices"][0]["finish_reason"] == "content_filter"


async def test_keys_of_arguments_that_no_tool_declares_are_judged_and_ids_are_weirs() -> None:
    detector_reads = Front(chat=saying("", finish_reason="tool_calls", tool_calls=[calling({"to": "x", "I_kill": 2})]))
    answer = await ask(None, front=detector_reads, tools=[TOOL])
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert "hurt" not in call["id"]
    read = detector_reads.detector.assessed[-1].response.split()
    assert "I_kill" in read
    assert "to" not in read


@pytest.mark.parametrize("stream", [True, False])
async def test_content_and_a_refusal_together_are_no_answer(*, stream: bool) -> None:
    front = Front(chat=saying("I will hurt", refusal=" you tonight."))
    answer = await front.post(ROUTE, {"messages": [{"role": "user", "content": "Hello"}], "stream": stream})
    assert "hurt" not in answer.text
    assert "error" in answer.text


async def test_an_empty_finish_reason_is_no_end_and_usage_is_asked_for() -> None:
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}
        for text, reason in (("Take the bus, it goes from the corner. ", ""), ("Then walk along the river.", "stop"))
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    async with guarding(Reply(pieces=[body.encode()])) as (front, server):
        asked = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}
        answer = await front.post(ROUTE, {**asked, "stream_options": {"include_usage": True}})
        assert "river" in answer.text
        assert server.bodies[0]["stream_options"] == {"include_usage": True}


async def test_a_body_that_breaks_off_behind_an_empty_finish_reason_is_an_error() -> None:
    cut = {"choices": [{"index": 0, "delta": {"content": "Take the"}, "finish_reason": ""}]}
    async with guarding(Reply(pieces=[f"data: {json.dumps(cut)}\n\n".encode()])) as (front, _):
        answer = await front.post(ROUTE, {"messages": [{"role": "user", "content": "Hello"}], "stream": True})
        assert '"error"' in answer.text
