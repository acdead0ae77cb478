"""`POST /v1/chat/moderations`: the assistant's last turn, in its context."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.fakes import POISON
from protector_models.moderation.wire.codec import decode_json
from tests.builders import policy
from tests.services.http.front import HARM_ME, Front, error_of

PATH = "/v1/chat/moderations"


def user(said: object = "How do I get home?") -> dict[str, Any]:
    return {"role": "user", "content": said}


def assistant(said: object = "By bus.", **more: object) -> dict[str, Any]:
    return {"role": "assistant", "content": said, **more}


async def results_of(front: Front, given_input: object) -> list[dict[str, Any]]:
    answer = await front.post(PATH, {"input": given_input})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


async def test_the_last_turn_of_the_assistant_is_judged_with_the_question_before_it() -> None:
    front = Front()
    [result] = await results_of(front, [user("first"), assistant(HARM_ME), user("second"), assistant("harm=0.6")])
    assert result["flagged"] is True
    assert result["weir"]["harmfulness"] == 0.6
    [exchange] = front.detector.assessed
    assert (exchange.prompt, exchange.response) == ("second", "harm=0.6")


async def test_what_the_user_said_and_earlier_answers_are_not_judged() -> None:
    [result] = await results_of(Front(), [user(HARM_ME), assistant(HARM_ME), user(HARM_ME), assistant("fine")])
    assert result["flagged"] is False


async def test_the_request_is_reported_beside_the_response_where_the_policy_asks_for_it() -> None:
    front = Front(policy=policy(judge_prompt="enforce"))
    [result] = await results_of(front, [user(HARM_ME), assistant("fine")])
    prompt = result["weir"]["prompt"]
    assert (result["flagged"], prompt["action"], prompt["category"]) == (False, "rewrite", "hate")
    assert (prompt["assessment"]["harmfulness"], prompt["enforced"]) == (0.9, False)
    [plain] = await results_of(Front(), [user(HARM_ME), assistant("fine")])
    assert "prompt" not in plain["weir"]
    (alone,) = (await front.moderate(HARM_ME))["results"]
    assert "prompt" not in alone["weir"]


async def test_several_messages_of_the_assistant_at_the_end_are_one_turn() -> None:
    front = Front()
    call = {"id": "1", "type": "function", "function": {"name": "send", "arguments": '{"text": "harm=0.9"}'}}
    [result] = await results_of(front, [user(), assistant("One moment."), assistant(None, tool_calls=[call])])
    assert result["flagged"] is True
    assert front.detector.assessed[0].response == "One moment.\nsend\nharm=0.9"


async def test_images_of_the_conversation_are_context_and_of_all_that_is_unread_the_result_tells() -> None:
    front = Front(images={"data:a": b"a map"})
    parts = [
        {"type": "text", "text": "Where is this?"},
        {"type": "image_url", "image_url": {"url": "data:a"}},
        {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
    ]
    [result] = await results_of(front, [user(parts), assistant("In Rome.")])
    assert front.detector.assessed[0].question() == "Where is this?\na map"
    assert result["weir"]["coverage"]["unread_parts"] == [{"position": 0, "kind": "audio"}]
    assert result["flagged"] is True


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "model", "parts": [{"text": HARM_ME}]},
        {"from": "gpt", "value": HARM_ME},
        {"role": "assistant", "content": [{"type": "output_text", "text": HARM_ME}]},
        {"role": "assistant", "content": [{"type": "text", "text": HARM_ME}]},
    ],
    ids=["Gemini", "ShareGPT", "Responses", "Anthropic"],
)
async def test_a_turn_is_read_as_its_sdk_writes_it(turn: dict[str, Any]) -> None:
    [result] = await results_of(Front(), [user(), turn])
    assert result["flagged"] is True


async def test_several_conversations_have_a_result_each_in_order() -> None:
    found = await results_of(Front(), [[user(), assistant()], [user(), assistant(HARM_ME)], [assistant("alone")]])
    assert [result["flagged"] for result in found] == [False, True, False]


@pytest.mark.parametrize(
    ("given_input", "param"),
    [
        ([], "input"),
        ([[]], "input[0]"),
        ([user()], "input"),
        ([user(), assistant(), user("and then?")], "input"),
        ([[user(), assistant()], [user()]], "input[1]"),
        ([[user(), assistant()], user()], "input[1]"),
        ([user(), 7], "input[1]"),
        ([user(), "text"], "input[1]"),
        ("text", "input"),
        ([7, assistant()], "input[0]"),
    ],
)
async def test_what_is_no_conversation_with_an_answer_is_refused(given_input: object, param: str) -> None:
    error = error_of(await Front().post(PATH, {"input": given_input}), 400)
    assert (error["code"], error["param"]) == ("invalid_value", param)


async def test_a_conversation_that_cannot_be_judged_is_named() -> None:
    answer = await Front().post(PATH, {"input": [[user(), assistant()], [user(), assistant(POISON)]]})
    error = error_of(answer, 422)
    assert (error["code"], error["param"]) == ("not_judged", "input[1]")


async def test_fields_that_were_passed_over_are_counted() -> None:
    front = Front()
    await results_of(front, [user(), assistant("fine", reasoning_content=HARM_ME)])
    assert front.metrics.total("weir_message_fields_ignored_total") == 1


messages: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(dict, role=st.sampled_from(["user", "assistant", "tool", "system"]), content=st.sampled_from(["a", "b"])),
    max_size=5,
)


@given(before=messages, said=st.sampled_from(["c", HARM_ME]))
async def test_what_models_see_is_what_they_see_of_the_same_event_of_the_wire_format(
    before: list[dict[str, Any]], said: str
) -> None:
    front = Front()
    await results_of(front, [*before, user("d"), assistant(said)])
    event = decode_json(
        {
            "schema_version": 1,
            "event_id": "e",
            "conversation_id": "c",
            "occurred_at": "2026-01-31T12:00:00Z",
            "messages": [*before, user("d")],
            "response": said,
        }
    ).event
    assert front.detector.assessed == [event.exchange(said)]
