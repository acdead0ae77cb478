"""What stands in a field that is known to hold a content is judged or missed, whatever else stands in the message."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.wire.codec import decode
from tests.wire import MAX_BYTES, encode

MARK = "so be it"
PNG = "data:image/png;base64,QQ=="


def event_of(*messages: JsonValue, response: JsonValue = "Fine.") -> ConversationEvent:
    return decode(encode(messages=list(messages), response=response), max_bytes=MAX_BYTES).event


def exchange_of(*messages: JsonValue, response: JsonValue = "Fine.") -> Exchange:
    read = event_of(*messages, response=response)
    assert read.response is not None
    return read.exchange(read.response)


CALL: JsonValue = {"type": "function", "function": {"name": "post", "arguments": json.dumps({"to": MARK})}}
FINE_CALL: JsonValue = {"name": "post", "args": {"to": "Ann"}, "id": "t-1", "type": "tool_call"}
TEXT_PART: JsonValue = {"type": "text", "text": MARK}

ANSWERS: list[dict[str, JsonValue]] = [
    {"role": "assistant", "content": "", "parts": [TEXT_PART]},
    {"role": "model", "content": None, "parts": [{"text": MARK}]},
    {"role": "model", "content": "Fine.", "parts": [{"text": MARK}]},
    {"role": "assistant", "content": "", "blocks": [{"block_type": "text", "text": MARK}]},
    {"type": "ai", "content": [], "content_blocks": [TEXT_PART]},
    {"role": "assistant", "content": None, "text": MARK},
    {"role": "assistant", "content": "Fine.", "output_text": MARK},
    {"role": "assistant", "content": None, "refusal": [MARK]},
    {"role": "assistant", "content": "\u200b", "text": MARK},
    {"from": "gpt", "value": MARK, "content": "Fine."},
    {"from": "gpt", "value": "Fine.", "content": MARK},
    {"content": MARK, "data": {"content": "Fine.", "type": "ai"}},
    {"lc": 1, "type": "constructor", "id": ["AIMessage"], "content": MARK, "kwargs": {"content": "Fine."}},
    {"type": "ai", "content": "", "tool_calls": [FINE_CALL], "additional_kwargs": {"tool_calls": [CALL]}},
    {"type": "ai", "content": "", "tool_calls": [FINE_CALL], "additional_kwargs": {"function_call": {"name": MARK}}},
    {"role": "assistant", "content": None, "function_call": {"name": "post"}, "tool_calls": [CALL]},
    {"role": "assistant", "tool_calls": [{"type": "tool_call", "name": "post", "args": {}, "input": MARK}]},
    {"role": "assistant", "tool_calls": [{"type": "tool_call", "name": "post", "args": {}, "text": MARK}]},
    {"content": {"parts": [{"text": "Fine."}], "content": MARK}},
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_an_answer_says_is_judged_wherever_it_says_it(answer: JsonValue) -> None:
    assert MARK in exchange_of(response=answer).response.split("\n")


PARTS: list[dict[str, JsonValue]] = [
    {"type": "text", "text": "", "content": MARK},
    {"type": "text", "text": "Fine.", "refusal": MARK},
    {"text": "Fine.", "toolUse": {"toolUseId": "t-1", "name": "post", "input": {"to": MARK}}},
    {"toolUse": {"toolUseId": "t-1", "name": "post", "input": {"to": MARK}}},
    {"toolResult": {"toolUseId": "t-1", "content": [{"json": {"to": MARK}}]}},
    {"type": "tool_call", "name": "post", "args": {}, "text": MARK},
    {"type": "tool_use", "name": "post", "args": {}, "input": {"to": MARK}},
    {"type": "tool_result", "content": "Fine.", "output": MARK},
    {"type": "image_url", "image_url": PNG, "text": MARK},
    {"executableCode": {"code": "pass", "output": MARK}},
    {"type": "text", "content": [TEXT_PART]},
]


@pytest.mark.parametrize("part", PARTS)
def test_what_a_part_says_is_judged_wherever_it_says_it(part: JsonValue) -> None:
    assert MARK in exchange_of(response=["Hi", part]).response.split("\n") or json.dumps({"to": MARK}) in exchange_of(
        response=["Hi", part]
    ).response.split("\n")


def test_a_question_is_read_as_an_answer_is() -> None:
    assert exchange_of({"role": "user", "content": "", "parts": [TEXT_PART]}).prompt == MARK


def test_what_stands_in_several_places_is_said_once() -> None:
    answer: JsonValue = {
        "role": "assistant",
        "content": MARK,
        "parts": [TEXT_PART, {"type": "image", "image": PNG}],
        "images": [PNG],
        "tool_calls": [FINE_CALL],
        "additional_kwargs": {
            "tool_calls": [{"type": "function", "function": {"arguments": '{"to": "Ann"}', "name": "post"}}]
        },
    }
    read = event_of(response=answer)
    assert (read.response, read.image_references()) == (f"{MARK}\npost\nAnn", (PNG,))


@pytest.mark.parametrize(
    "beside",
    [
        {"images": ["QQ=="]},
        {"images": [PNG]},
        {"images": [{"type": "image_url", "image_url": {"url": PNG}, "index": 0}]},
        {"image": PNG},
        {"image_url": {"url": PNG}},
        {"attachments": [{"name": "a.png", "contentType": "image/png", "url": PNG}]},
        {"experimental_attachments": [{"url": PNG}]},
        {"parts": [{"type": "text", "text": "Hi", "inlineData": {"mimeType": "image/png", "data": "QQ=="}}]},
        {"parts": [{"type": "text", "text": "Hi", "image_url": {"url": PNG}}]},
        {"parts": [{"image": {"format": "png", "source": {"bytes": "QQ=="}}}]},
        {"parts": [{"type": "image", "source": {"type": "url", "url": PNG}, "detail": "low"}]},
    ],
)
def test_a_picture_beside_a_content_is_seen(beside: dict[str, JsonValue]) -> None:
    assert event_of({"role": "user", "content": "Hi", **beside}).image_references() == (PNG,)


def test_all_pictures_of_a_part_are_seen() -> None:
    part: JsonValue = {"type": "image", "source": {"data": "QQ==", "url": "https://a.example/1"}, "image_url": "b:2"}
    assert event_of({"role": "user", "content": [part]}).image_references() == (PNG, "https://a.example/1", "b:2")


@pytest.mark.parametrize("attachment", [{"contentType": "text/plain", "url": "data:,a"}, {"name": "a"}, "a.txt", 5])
def test_what_is_attached_and_no_picture_is_unread(attachment: JsonValue) -> None:
    found = exchange_of({"role": "user", "content": "Hi", "attachments": [attachment]})
    assert [part.kind for part in found.unread_parts] == ["file"]


@pytest.mark.parametrize(
    "beside", [{"caption": MARK}, {"caption": {"en": [MARK]}}, {"picture": "QUJD" * 20}, {"caption": {MARK: 1}}]
)
def test_an_unknown_field_with_words_in_a_part_makes_it_a_part_that_was_not_read(beside: dict[str, JsonValue]) -> None:
    found = exchange_of(response=[{"type": "text", "text": "Hi", **beside}])
    assert (found.response, [part.kind for part in found.unread_parts]) == ("Hi", ["malformed"])


@pytest.mark.parametrize(
    "beside",
    [
        {"cache_control": {"type": "ephemeral"}, "phase": "final", "thoughtSignature": "QUJD" * 40},
        {"annotations": [{"title": MARK}], "logprobs": [{"token": "so be"}], "id": "m-1", "seen": True},
        {"cachePoint": {"type": "default"}},
    ],
)
def test_what_is_known_of_a_part_and_single_words_beside_it_make_it_no_unread_part(
    beside: dict[str, JsonValue],
) -> None:
    found = exchange_of(response=[{"type": "text", "text": "Hi"}, {"text": "there", **beside}])
    assert (found.response, found.unread_parts) == ("Hi\nthere", ())


@pytest.mark.parametrize(
    "part", [{"cachePoint": {"type": "default"}}, {"reasoningContent": {"text": MARK}}, {"type": "step-start"}]
)
def test_what_is_written_aside_is_passed_over(part: JsonValue) -> None:
    found = exchange_of(response=["Hi", part])
    assert (found.response, found.unread_parts) == ("Hi", ())


CONTENTS: list[JsonValue] = [MARK, [MARK], [TEXT_PART], {"text": MARK}, [{"text": "Fine.", "content": MARK}]]
SAYING = [*("content", "parts", "blocks", "content_blocks", "text", "output_text", "refusal", "tool_calls")]
SAYING_IN_PARTS = [
    *SAYING,
    "functionCall",
    "toolUse",
    "function_call",
    "image_url",
    "images",
    "attachments",
    "audio",
    "json",
    "inlineData",
    "file",
]
OTHERS: st.SearchStrategy[JsonValue] = st.sampled_from(
    [
        *(
            None,
            "",
            "\u200b",
            [],
            {},
            "Fine.",
            ["Fine."],
            [{"type": "text", "text": "Fine."}],
            5,
            True,
            {"text": "Fine."},
        ),
        *({"name": "post", "args": {}}, [{"type": "image", "image": PNG}], {"parts": ["Fine."]}, {"content": "Fine."}),
    ]
)
BESIDE = st.dictionaries(
    st.sampled_from(
        [*SAYING_IN_PARTS, "role", "from", "value", "lc", "kwargs", "data", "type", "id", "name", "answer"]
    ),
    OTHERS
    | st.sampled_from(["ai", "text", "message", "image", "image_url", "function_call", "tool_call", "constructor"]),
    max_size=5,
)


@st.composite
def marked_messages(draw: st.DrawFn) -> JsonValue:
    """Return a message with the mark in a field that holds contents, in the message, in a part or in a layer of it."""
    part = {**draw(BESIDE), draw(st.sampled_from(SAYING_IN_PARTS)): draw(st.sampled_from(CONTENTS))}
    place = draw(st.sampled_from(["message", "part", "kwargs", "data", "additional_kwargs", "value"]))
    beside = draw(BESIDE)
    if place == "message":
        return part
    if place == "part":
        return {**beside, draw(st.sampled_from(["content", "parts", "blocks"])): [part]}
    if place == "value":
        return {**beside, "from": "gpt", "value": draw(st.sampled_from(CONTENTS))}
    if place == "kwargs":
        return {**beside, "lc": 1, "kwargs": part}
    if place == "data":
        return {**{name: value for name, value in beside.items() if name != "role"}, "data": part}
    return {**beside, place: part}


@given(message=marked_messages(), is_answer=st.booleans())
def test_a_text_in_a_known_field_is_judged_or_missed_and_never_neither(message: JsonValue, is_answer: bool) -> None:
    assert isinstance(message, dict)
    if is_answer:
        read = event_of(response=message)
    else:
        read = event_of({**message, "role": "user"}) if "data" not in message else event_of(response=message)
    assert read.response is not None
    exchange = read.exchange(read.response)
    seen = [exchange.prompt, exchange.response, *read.image_references()]
    assert exchange.unread_parts or any(MARK in text for text in seen)
