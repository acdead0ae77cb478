"""What is a conversation event, what is not, and what the models see of it."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protector_models.moderation.conversation import ConversationEvent, Exchange, SeenImage, UnreadPart
from protector_models.moderation.messages.message import (
    ImagePart,
    ImageUrl,
    Message,
    TextPart,
    UnreadContent,
    UnreadKind,
)
from tests.builders import assistant, event, exchange, unread, user


def _json(**changes: object) -> bytes:
    fields: dict[str, Any] = {
        "schema_version": 1,
        "event_id": "event-1",
        "conversation_id": "conversation-1",
        "occurred_at": "2026-01-31T12:00:00Z",
        "messages": [{"role": "user", "content": "How do I get home?"}],
        "response": "Take the bus.",
    }
    fields.update(changes)
    return json.dumps(fields).encode()


def _without(field: str) -> bytes:
    fields = json.loads(_json())
    del fields[field]
    return json.dumps(fields).encode()


def _parse(value: bytes) -> ConversationEvent:
    return ConversationEvent.model_validate_json(value)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
identifiers = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
parts = st.one_of(
    st.builds(TextPart, type=st.just("text"), text=texts),
    st.builds(
        ImagePart,
        type=st.just("image_url"),
        image_url=st.builds(ImageUrl, url=identifiers, detail=st.none() | texts),
    ),
    st.builds(UnreadContent, type=st.just("unread"), kind=st.sampled_from(UnreadKind)),
)
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "other"]),
    content=st.none() | texts | st.lists(parts, max_size=3).map(tuple),
    name=st.none() | texts,
    tool_calls=st.none() | st.lists(json_values, max_size=2).map(tuple),
    tool_call_id=st.none() | texts,
)
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
events = st.builds(
    ConversationEvent,
    schema_version=st.just(1),
    event_id=identifiers,
    conversation_id=identifiers,
    tenant=identifiers,
    occurred_at=st.datetimes(timezones=st.just(UTC) | offsets),
    messages=st.lists(messages, max_size=4).map(tuple),
    response=st.none() | texts,
    metadata=st.dictionaries(texts, json_values, max_size=3),
)


@given(events)
def test_decoding_what_was_encoded_gives_the_event(drawn: ConversationEvent) -> None:
    assert _parse(drawn.model_dump_json().encode()) == drawn


def test_what_may_be_left_out_has_a_default() -> None:
    parsed = _parse(_without("response"))
    assert parsed.response is None
    assert parsed.tenant == "default"
    assert parsed.metadata == {}


@pytest.mark.parametrize("field", ["schema_version", "event_id", "conversation_id", "occurred_at", "messages"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(ValidationError) as raised:
        _parse(_without(field))
    assert [error["loc"] for error in raised.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema_version", 2),
        ("schema_version", 0),
        ("schema_version", "1"),
        ("schema_version", 1.0),
        ("schema_version", True),
        ("schema_version", None),
        ("event_id", ""),
        ("event_id", None),
        ("event_id", 7),
        ("event_id", "x" * 513),
        ("conversation_id", ""),
        ("conversation_id", ["c"]),
        ("tenant", ""),
        ("tenant", None),
        ("occurred_at", None),
        ("occurred_at", 1_700_000_000),
        ("occurred_at", "1700000000"),
        ("occurred_at", ""),
        ("occurred_at", "2026-01-31"),
        ("occurred_at", "2026-01-31T12:00:00"),
        ("occurred_at", "2026-01-31T12:00Z"),
        ("occurred_at", "2026-01-31T12:00:00+0100"),
        ("occurred_at", "2026-01-31T12:00:00 Z"),
        ("occurred_at", "2026-01-31T12:00:00Z\n"),
        ("occurred_at", "2026-02-30T12:00:00Z"),
        ("occurred_at", "2026-01-31T25:00:00Z"),
        ("occurred_at", "٢٠٢٦-01-31T12:00:00Z"),
        ("messages", None),
        ("messages", "How do I get home?"),
        ("messages", {"role": "user", "content": "How do I get home?"}),
        ("messages", [None]),
        ("messages", [{"content": "How do I get home?"}]),
        ("messages", [{"role": "nobody", "content": "How do I get home?"}]),
        ("messages", [{"role": "user", "content": 7}]),
        ("messages", [{"role": "user", "content": [{"type": "text"}]}]),
        ("messages", [{"role": "user", "content": [{"type": "video", "text": "?"}]}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": "https://example.org"}]}]),
        ("messages", [{"role": "user", "content": "How do I get home?", "mood": "tired"}]),
        ("response", 7),
        ("response", ["Take the bus."]),
        ("response", {"text": "Take the bus."}),
        ("metadata", None),
        ("metadata", ["a"]),
        ("no_such_field", 1),
    ],
)
def test_a_bad_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as raised:
        _parse(_json(**{field: value}))
    assert {error["loc"][0] for error in raised.value.errors()} == {field}


@pytest.mark.parametrize(
    "value",
    [b"", b"null", b"[]", b"7", b"{", b"\xff\xfe{}", b"\xef\xbb\xbf{}", _json()[:-1], _json() + b"x", b"[" * 10_000],
)
def test_what_is_not_a_json_object_is_refused(value: bytes) -> None:
    with pytest.raises(ValidationError):
        _parse(value)


@pytest.mark.parametrize(
    ("written", "offset_minutes"),
    [
        ("2026-01-31T12:00:00Z", 0),
        ("2026-01-31t12:00:00z", 0),
        ("2026-01-31 12:00:00.123456Z", 0),
        ("2026-01-31T12:00:00.123456789Z", 0),
        ("2026-01-31T17:30:00+05:30", 330),
        ("2026-01-31T12:00:00-00:00", 0),
    ],
)
def test_every_form_of_rfc_3339_is_taken(written: str, offset_minutes: int) -> None:
    occurred_at = _parse(_json(occurred_at=written)).occurred_at
    assert occurred_at.replace(microsecond=0) == datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
    assert occurred_at.utcoffset() == timedelta(minutes=offset_minutes)


def test_a_naive_time_is_refused_also_where_no_json_is_parsed() -> None:
    with pytest.raises(ValidationError):
        event(occurred_at=datetime(2026, 1, 31, 12, 0))  # noqa: DTZ001 - naive on purpose


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00",
        "a\x00b",
        "שלום \u202eevil\u202c",
        "👩‍👩‍👧‍👦 🏳️‍🌈",
        "e\u0301",
        "\ufeff",
        "\uffff",
        "😀" * 1000,
        "x" * 5_000_000,
    ],
)
def test_any_text_with_a_utf_8_form_is_taken_as_it_stands(text: str) -> None:
    parsed = _parse(_json(response=text, messages=[{"role": "user", "content": text}]))
    assert parsed.response == text
    assert parsed.exchange(text).prompt == text


@pytest.mark.parametrize("escaped", [b"\\ud800", b"\\udc00", b"\\ude00\\ud83d", b"a\\ud800b"])
def test_lone_surrogates_in_json_are_refused(escaped: bytes) -> None:
    with pytest.raises(ValidationError):
        _parse(_json().replace(b"Take the bus.", escaped))


def test_a_pair_of_surrogates_in_json_is_one_character() -> None:
    assert _parse(_json().replace(b"Take the bus.", b"\\ud83d\\ude00")).response == "😀"


def test_lone_surrogates_are_refused_also_where_no_json_is_parsed() -> None:
    with pytest.raises(ValidationError):
        event("\ud800")
    with pytest.raises(ValidationError):
        event(prompt="\udfff")
    with pytest.raises(ValidationError):
        exchange(images=["\ud800"])


def test_a_conversation_of_a_thousand_messages_is_taken() -> None:
    turns = [{"role": role, "content": f"{role} {number}"} for number in range(500) for role in ("user", "assistant")]
    parsed = _parse(_json(messages=turns))
    assert len(parsed.messages) == 1000
    assert parsed.exchange("x").prompt == "user 499"


def test_a_conversation_has_at_most_a_thousand_images() -> None:
    def naming(number: int) -> bytes:
        part = {"type": "image_url", "image_url": {"url": "x"}}
        return _json(messages=[{"role": "user", "content": [part] * (number - 1)}, {"role": "user", "content": [part]}])

    assert len(_parse(naming(1_000)).image_references()) == 1_000
    with pytest.raises(ValidationError, match="expected at most 1000 images, got 1001"):
        _parse(naming(1_001))


def test_a_conversation_with_tool_calls_is_taken_as_the_openai_format_writes_it() -> None:
    call = {"id": "call-1", "type": "function", "function": {"name": "bus", "arguments": "{}"}}
    parsed = _parse(
        _json(
            messages=[
                {"role": "developer", "content": "Be brief.", "name": "operator"},
                {"role": "user", "content": "When is the bus?"},
                {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
                {"role": "tool", "content": "12:05", "tool_call_id": "call-1"},
            ]
        )
    )
    assert parsed.messages[2].tool_calls == (call,)
    assert parsed.messages[2].text() == ""
    assert parsed.exchange("At 12:05.").prompt == "When is the bus?"


def test_the_prompt_is_the_only_user_message() -> None:
    assert event(prompt="Why?").exchange("x") == Exchange(prompt="Why?", response="x")


@pytest.mark.parametrize(
    ("conversation", "prompt"),
    [
        ([user("one"), assistant(), user("two")], "two"),
        ([user("one"), assistant(), user("two"), user("three")], "two\nthree"),
        ([user("one"), user("two"), assistant()], "one\ntwo"),
        ([user("zero"), assistant(), user("one"), user("two"), assistant(), assistant()], "one\ntwo"),
        ([user("one"), Message(role="system", content="Be brief."), user("two")], "one\ntwo"),
        ([user("one"), assistant(None, tool_calls=({},)), Message(role="tool", content="12:05")], "one"),
        ([assistant("Hello!")], ""),
        ([Message(role="system", content="Be brief.")], ""),
        ([Message(role="user", content=None)], ""),
        ([Message(role="user", content=())], ""),
    ],
)
def test_the_prompt_is_the_last_user_turn(conversation: list[Message], prompt: str) -> None:
    assert event(messages=conversation).exchange("x").prompt == prompt


def test_the_text_parts_of_a_message_are_joined_by_newlines() -> None:
    text = TextPart(type="text", text="one")
    picture = ImagePart(type="image_url", image_url=ImageUrl(url="https://example.org/cat.png"))
    message = Message(role="user", content=(text, picture, text))
    assert message.text() == "one\none"
    assert message.image_references() == ("https://example.org/cat.png",)


def test_the_images_of_the_whole_conversation_are_seen_in_order() -> None:
    conversation = [user("one", images=["a", "b"]), assistant(), user("two", images=["c"])]
    assert event(messages=conversation).image_references() == ("a", "b", "c")


def test_images_that_nobody_read_are_unread() -> None:
    assert event(images=["a", "b"]).exchange("x") == exchange("x", images=[unread(), unread()])


def test_an_exchange_has_an_image_for_each_reference() -> None:
    asked = event(images=["a", "b"])
    assert asked.exchange("x", [SeenImage(text="one"), unread()]) == exchange("x", images=["one", unread()])
    with pytest.raises(ValueError, match="images: expected 2, got 1"):
        asked.exchange("x", [SeenImage(text="one")])


@pytest.mark.parametrize(("text", "reason"), [(None, None), ("", "FetchFailed")])
def test_an_image_has_either_a_text_or_a_reason_why_not(text: str | None, reason: str | None) -> None:
    with pytest.raises(ValidationError, match="either a text or an unread_reason"):
        SeenImage(text=text, unread_reason=reason)


@pytest.mark.parametrize(
    ("prompt", "images", "question"),
    [
        ("Why?", [], "Why?"),
        ("Why?", ["one", unread(), "", "two"], "Why?\none\ntwo"),
        ("", ["one"], "one"),
        ("", [""], ""),
    ],
)
def test_the_question_is_the_prompt_and_what_stands_in_images(
    prompt: str, images: list[str | SeenImage], question: str
) -> None:
    assert exchange(prompt=prompt, images=images).question() == question


def unread_content(kind: UnreadKind = UnreadKind.AUDIO) -> UnreadContent:
    return UnreadContent(type="unread", kind=kind)


def test_the_unread_parts_of_the_whole_conversation_are_told_with_the_place_of_their_message() -> None:
    text = TextPart(type="text", text="Listen!")
    conversation = [
        Message(role="user", content=(unread_content(), text, unread_content(UnreadKind.FILE))),
        assistant(),
        Message(role="tool", content=(unread_content(UnreadKind.VIDEO),)),
    ]
    assert event(messages=conversation).exchange("x").unread_parts == (
        UnreadPart(position=0, kind=UnreadKind.AUDIO),
        UnreadPart(position=0, kind=UnreadKind.FILE),
        UnreadPart(position=2, kind=UnreadKind.VIDEO),
    )


def test_a_conversation_has_at_most_a_thousand_unread_parts() -> None:
    message = Message(role="user", content=(unread_content(),) * 1_000)
    assert len(event(messages=[message]).unread_parts()) == 1_000
    with pytest.raises(ValidationError, match="at most 1000 parts that are neither text nor image, got 2000"):
        event(messages=[message, message])


CALL: dict[str, Any] = {"id": "1", "type": "function", "function": {"name": "post", "arguments": '{"text": "Rude."}'}}


@pytest.mark.parametrize("response", ["", " \n"])
@pytest.mark.parametrize(
    ("last", "answer"),
    [
        (assistant(None, tool_calls=(CALL,)), "post\nRude."),
        (assistant("Done:", tool_calls=(CALL, CALL)), "Done:\npost\nRude.\npost\nRude."),
        (Message(role="assistant", function_call={"name": "post", "arguments": "Rude."}), "post\nRude."),
    ],
)
def test_calls_of_tools_at_the_end_are_the_answer_where_there_is_no_other(
    response: str, last: Message, answer: str
) -> None:
    assert event(response, messages=[user("Hi"), last]).exchange(response) == exchange(answer, prompt="Hi")


@pytest.mark.parametrize("response", [None, "", "\u200b", "\u3164\n"])
@pytest.mark.parametrize("after", [[assistant(None)], [assistant("")], [assistant("\u200b"), assistant(None)]])
def test_a_message_of_which_nobody_sees_anything_hides_no_calls_before_it(
    response: str | None, after: list[Message]
) -> None:
    asked = event(response, messages=[user("Hi"), assistant(None, tool_calls=(CALL,)), *after])
    assert not asked.lacks_response()
    assert asked.exchange(response or "").response == "post\nRude."


def test_all_that_an_assistant_says_and_calls_at_the_end_is_one_answer() -> None:
    calls = [assistant("Done:"), assistant(None, tool_calls=(CALL,)), assistant(None, tool_calls=(CALL,))]
    assert event("", messages=[user("Hi"), *calls]).exchange("").response == "Done:\npost\nRude.\npost\nRude."


def test_a_user_who_says_something_in_another_field_is_heard() -> None:
    said = Message(role="user", content="Hi", refusal="No.", tool_calls=(CALL,))
    assert event(messages=[said]).exchange("x").prompt == "Hi\nNo.\npost\nRude."


@pytest.mark.parametrize(
    "after",
    [
        [assistant("Hello.")],
        [assistant(None, tool_calls=())],
        [assistant(None, tool_calls=(CALL,)), Message(role="tool", content="ok")],
        [Message(role="user", content="Hi", tool_calls=(CALL,))],
        [],
    ],
)
def test_an_empty_response_stays_empty_otherwise(after: list[Message]) -> None:
    assert event("", messages=[user("Hi"), *after]).exchange("").response == ""


def test_a_response_hides_no_other_and_is_not_hidden_by_calls_before_it() -> None:
    asked = event("Sent.", messages=[user("Hi"), assistant(None, tool_calls=(CALL,))])
    assert asked.exchange("Sent.").response == "Sent."


def test_an_answer_without_a_question_has_an_empty_prompt() -> None:
    assert event(messages=[]).exchange("x") == Exchange(prompt="", response="x")


def test_references_give_way_to_data_urls_wherever_they_stand() -> None:
    conversation = [user("one", images=["a", "b"]), assistant(), user("two", images=["a"]), user("three")]
    asked = event(messages=conversation).with_images({"a": "data:image/png;base64,QQ=="})
    assert asked.image_references() == ("data:image/png;base64,QQ==", "b", "data:image/png;base64,QQ==")
    assert asked.with_images({"data:image/png;base64,QQ==": "a"}) == event(messages=conversation)


def test_the_exchange_does_not_depend_on_who_asks_and_when() -> None:
    other = event(event_id="e", conversation_id="c", tenant="t", occurred_at=datetime.now(UTC), metadata={"a": 1})
    assert other.exchange("x") == event().exchange("x")
