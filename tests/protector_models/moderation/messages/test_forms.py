"""Messages of every form, read into one."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.messages.forms import ReadMessages, read_messages
from protector_models.moderation.messages.message import MAX_UNREAD_PARTS, ImagePart, Message, TextPart, UnreadContent

OWN_ROLES = ("system", "developer", "tool", "function")
PNG = "data:image/png;base64,QQ=="


def read(*messages: JsonValue, response: JsonValue = "Take the bus.") -> ReadMessages:
    return read_messages(list(messages), response)


def read_one(message: JsonValue) -> Message:
    (found,) = read(message).messages
    return found if isinstance(found, Message) else Message.model_validate(found)


def contents(*parts: JsonValue) -> Sequence[str]:
    """Tell in short what a user's parts are read as."""
    found = read_one({"role": "user", "content": list(parts)}).content
    assert isinstance(found, tuple)
    return [_in_short(part) for part in found]


def _in_short(part: TextPart | ImagePart | UnreadContent) -> str:
    if isinstance(part, TextPart):
        return part.text
    return part.image_url.url if isinstance(part, ImagePart) else f"<{part.kind}>"


STRANGE_ROLES: tuple[JsonValue, ...] = ("other", "customer", "", "How do I get home?", None, 5, ["user"], {})


@pytest.mark.parametrize(
    ("written", "role"),
    [
        *((name, "user") for name in ("user", "User", " USER ", "human", "Human")),
        *((name, "assistant") for name in ("assistant", "Assistant", "model", "ai", "AI", "bot", "gpt")),
        *zip(OWN_ROLES, OWN_ROLES, strict=True),
        *((name, "other") for name in STRANGE_ROLES),
    ],
)
def test_a_role_has_one_name_and_an_unknown_one_is_nobodys(written: JsonValue, role: str) -> None:
    message = read_one({"role": written, "content": "Hello"})
    assert (message.role, message.text()) == (role, "Hello")


def test_a_message_without_a_role_is_kept() -> None:
    assert read_one({"content": "Hello"}) == Message(role="other", content="Hello")


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "Hi"}, "Hi"),
        ({"type": "input_text", "text": "Hi"}, "Hi"),
        ({"type": "output_text", "text": "Hi", "annotations": [], "logprobs": None}, "Hi"),
        ({"type": "text", "text": {"value": "Hi", "annotations": []}}, "Hi"),
        ({"type": "refusal", "refusal": "No."}, "No."),
        ("Hi", "Hi"),
        ({"text": "Hi"}, "Hi"),
        ({"type": "image_url", "image_url": {"url": PNG}}, PNG),
        ({"type": "image_url", "image_url": {"url": PNG, "format": "image/png"}}, PNG),
        ({"type": "image_url", "image_url": PNG}, PNG),
        ({"type": "input_image", "image_url": PNG, "detail": "auto"}, PNG),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}, PNG),
        ({"type": "image", "source": {"type": "url", "url": PNG}}, PNG),
        ({"type": "image", "source_type": "base64", "mime_type": "image/png", "data": "QQ=="}, PNG),
        ({"type": "image", "base64": "QQ==", "mime_type": "image/png"}, PNG),
        ({"type": "image", "image": PNG}, PNG),
        ({"inlineData": {"mimeType": "image/png", "data": "QQ=="}}, PNG),
        ({"inline_data": {"mime_type": "image/png", "data": "QQ=="}}, PNG),
        ({"fileData": {"mimeType": "image/png", "fileUri": "https://example.org/a.png"}}, "https://example.org/a.png"),
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}}, "Hi"),
    ],
)
def test_a_text_or_an_image_of_any_form_is_read(part: JsonValue, expected: str) -> None:
    assert contents(part) == [expected]


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}, "audio"),
        ({"type": "audio_url", "audio_url": {"url": "https://example.org/a.wav"}}, "audio"),
        ({"inlineData": {"mimeType": "audio/wav", "data": "QQ=="}}, "audio"),
        ({"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}, "video"),
        ({"file_data": {"mime_type": "video/mp4", "file_uri": "https://example.org/a.mp4"}}, "video"),
        ({"type": "input_image", "file_id": "file-1"}, "image"),
        ({"type": "image", "source": {"type": "file", "file_id": "file-1"}}, "image"),
        ({"type": "image"}, "image"),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="}},
            "document",
        ),
        ({"inlineData": {"mimeType": "application/pdf", "data": "QQ=="}}, "document"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file"),
        ({"type": "input_file", "file_id": "file-1"}, "file"),
        ({"fileData": {"fileUri": "https://example.org/a"}}, "file"),
        ({"type": "hologram", "hologram": "x"}, "unknown"),
        ({"type": "unread", "kind": "audio"}, "audio"),
        ({"type": "unread", "kind": ["audio"]}, "unknown"),
        ({"type": "text"}, "malformed"),
        ({"type": "text", "text": 5}, "malformed"),
        ({"type": "image_url", "image_url": {"url": ""}}, "malformed"),
        ({"type": "image_url", "image_url": {}}, "malformed"),
        ({"type": "image_url", "image_url": 5}, "malformed"),
        ({"type": 5}, "malformed"),
        ({"mood": "tired"}, "malformed"),
        ({}, "malformed"),
        (None, "malformed"),
        (5, "malformed"),
        (["Hi"], "malformed"),
    ],
)
def test_a_part_that_nothing_reads_is_named_and_its_neighbours_are_read(part: JsonValue, kind: str) -> None:
    text: JsonValue = {"type": "text", "text": "Hi"}
    assert contents(text, part, text) == ["Hi", f"<{kind}>", "Hi"]


def test_a_part_that_is_several_things_is_read_as_all_of_them() -> None:
    message = read_one({"role": "model", "parts": [{"text": "Fine.", "functionCall": {"name": "f", "args": {}}}]})
    assert message.text() == "Fine."
    assert message.tool_calls is not None


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": 7},
        {"role": "user", "content": True},
        {"role": "user", "contents": "Hello"},
        {"role": "user", "content": "", "contents": ["Hello"]},
        {"role": "assistant", "content": "", "id": "So be it."},
        {"role": "user", "content": "\u200b", "contents": "Hello", "id": "m-1"},
        {"role": "user", "content": [{"type": "text", "text": ""}], "contents": "Hello"},
        {"answer": "Hello", "content": None},
        {"role": "assistant", "content": [], "tool_calls": [{}], "toolInvocations": [{"args": {"to": "Ann"}}]},
    ],
)
def test_a_message_that_may_say_something_where_nothing_reads_it_has_an_unread_part(message: JsonValue) -> None:
    content = read_one(message).content
    assert isinstance(content, tuple)
    assert content[-1] == UnreadContent.model_validate({"type": "unread", "kind": "malformed"})


@pytest.mark.parametrize(
    "beside",
    [
        {"id": "m-1", "created_at": "2026-11-21T12:00:00Z", "status": "completed", "index": 0},
        {"reasoning_content": "The sign is old.", "thinking_blocks": [{"thinking": "The sign is old."}]},
        {"annotations": [{"title": "The old sign"}], "response_metadata": {"finish_reason": "stop"}, "seen": True},
        {"mood": "", "moods": [], "by_mood": {}},
    ],
)
def test_an_empty_message_with_nothing_but_what_is_known_of_it_is_empty(beside: dict[str, JsonValue]) -> None:
    assert read_one({"role": "assistant", "content": "", **beside}) == Message(role="assistant", content="")


@pytest.mark.parametrize("message", [{"role": "user"}, {"role": "user", "content": None}])
def test_a_message_that_says_nothing_is_empty(message: JsonValue) -> None:
    assert read_one(message) == Message(role="user")


@pytest.mark.parametrize(
    ("message", "ignored"),
    [
        ({"role": "user", "content": "Hi"}, 0),
        ({"role": "assistant", "content": "Hi", "name": "a", "refusal": None, "tool_calls": None}, 0),
        ({"role": "assistant", "content": "Hi", "annotations": [], "audio": None, "refusal": None}, 1),
        ({"role": "assistant", "content": "Hi", "reasoning_content": "Hm", "reasoning": "Hm", "prefix": True}, 3),
        ({"role": "user", "content": "Hi", "id": "m-1", "created_at": 1795262400}, 2),
        ({"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}, 1),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG, "format": "image/png"}}]}, 1),
        ({"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hi"}]}, 1),
        ({"role": "user", "content": "Hi", "name": 5}, 1),
    ],
)
def test_what_is_passed_over_is_counted(message: JsonValue, ignored: int) -> None:
    assert read(message).ignored == ignored


def test_results_of_tools_in_a_users_message_are_the_tools() -> None:
    written: JsonValue = {
        "role": "user",
        "content": [
            {"type": "text", "text": "Here:"},
            {"type": "tool_result", "tool_use_id": "t-1", "content": [{"type": "text", "text": "12:05"}]},
            {"type": "tool_result", "tool_use_id": "t-2", "content": "12:35"},
            {"type": "text", "text": "Which one?"},
        ],
    }
    found = [(message.role, message.text()) for message in read(written).messages if isinstance(message, Message)]
    assert found == [("user", "Here:"), ("tool", "12:05"), ("tool", "12:35"), ("user", "Which one?")]


def test_the_words_beside_what_an_assistant_said_aloud_are_read_and_its_voice_is_not() -> None:
    message = read_one({"role": "assistant", "content": None, "audio": {"id": "a-1", "transcript": "By bus."}})
    assert message.text() == "By bus."
    assert isinstance(message.content, tuple)
    assert [_in_short(part) for part in message.content] == ["By bus.", "<audio>"]


CALL: JsonValue = {"id": "t-1", "type": "function", "function": {"name": "post", "arguments": '{"body": "Be nice."}'}}
CALLED = "post\nBe nice."


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (None, None),
        ("Hi", "Hi"),
        ("", ""),
        ([], ""),
        (["Hi", {"type": "output_text", "text": "there"}], "Hi\nthere"),
        ({"role": "assistant", "content": "Hi"}, "Hi"),
        ({"content": "Hi"}, "Hi"),
        ({"role": "assistant", "content": None}, ""),
        ({"role": "assistant", "content": None, "refusal": "I would rather not."}, "I would rather not."),
        ({"role": "assistant", "content": "Done.", "tool_calls": [CALL]}, "Done.\npost\nBe nice."),
        ({"role": "assistant", "function_call": {"name": "post", "arguments": "Be nice."}}, "post\nBe nice."),
        ([{"type": "tool_use", "id": "t-1", "name": "post", "input": {"body": "Be nice."}}], "post\nBe nice."),
        ({"role": "model", "parts": [{"text": "Hi"}]}, "Hi"),
        ({"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}, "Hi"),
        ({"type": "ai", "content": "Hi", "additional_kwargs": {"tool_calls": [CALL]}}, "Hi\npost\nBe nice."),
        ({"role": "model", "parts": [{"text": "Hm", "thought": True}, {"text": "Hi", "thought": False}]}, "Hi"),
        ([{"type": "thinking", "thinking": "Hm", "signature": "x"}, {"type": "text", "text": "Hi"}], "Hi"),
        ({"from": "gpt", "value": "Hi"}, "Hi"),
        ({"text": "Hi"}, "Hi"),
        ({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}, "Hi"),
        ({"type": "function_call", "name": "post", "arguments": '{"body": "Be nice."}', "call_id": "c"}, CALLED),
        ({"type": "custom_tool_call", "name": "post", "input": "Be nice.", "call_id": "c"}, CALLED),
        ({"type": "function_call_output", "output": "Hi", "call_id": "c"}, "Hi"),
        ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}], "content": ["Hm"]}], ""),
        ([{"type": "reasoning", "summary": []}, {"type": "message", "content": "Hi"}, {"text": "there"}], "Hi\nthere"),
        ({"type": "code_interpreter_call", "code": "2", "outputs": [{"logs": "Hi"}]}, "code_interpreter_call\n2\nHi"),
    ],
)
def test_a_response_of_any_form_is_a_text(response: JsonValue, text: str | None) -> None:
    assert read(response=response).response == text


@pytest.mark.parametrize("response", [5, True, {}, {"role": "assistant"}, {"answer": "Hi"}])
def test_what_is_no_answer_is_refused(response: JsonValue) -> None:
    with pytest.raises(
        InvalidEventError, match=r"^response: expected a text, a message, a list of parts or null, got "
    ):
        read(response=response)


def test_what_a_response_shows_stands_after_the_conversation() -> None:
    response: JsonValue = ["Look:", {"type": "image_url", "image_url": PNG}, {"type": "audio"}]
    found = read({"role": "user", "content": "Hi"}, response=response)
    assert found.response == "Look:"
    last = found.messages[-1]
    assert isinstance(last, Message)
    assert isinstance(last.content, tuple)
    assert (last.role, [_in_short(part) for part in last.content]) == ("assistant", [PNG, "<audio>"])


def test_items_of_the_responses_api_are_messages() -> None:
    written: list[JsonValue] = [
        {"type": "reasoning", "id": "r-1", "summary": [], "status": None},
        {"type": "function_call", "name": "post", "arguments": "{}", "call_id": "c-1", "status": "completed"},
        {"type": "function_call_output", "call_id": "c-1", "output": "Sent."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Thanks"}]},
    ]
    found = [message for message in read(*written).messages if isinstance(message, Message)]
    assert [(message.role, message.text()) for message in found] == [
        *(("assistant", ""), ("assistant", ""), ("tool", "Sent."), ("user", "Thanks"))
    ]
    assert (found[1].said(), found[2].tool_call_id) == ("post", "c-1")


def test_a_picture_that_a_tool_of_the_provider_made_is_seen() -> None:
    found = read(response=[{"type": "image_generation_call", "id": "i-1", "result": "QQ==", "status": "completed"}])
    last = found.messages[-1]
    assert isinstance(last, Message)
    assert last.image_references() == (PNG,)


def test_too_many_parts_that_nothing_reads_are_refused_before_all_are_looked_at() -> None:
    assert len(contents(*[0] * MAX_UNREAD_PARTS)) == MAX_UNREAD_PARTS
    with pytest.raises(InvalidEventError, match="at most 1000 parts"):
        contents(*[0] * (MAX_UNREAD_PARTS + 1))


@pytest.mark.parametrize("messages", [None, "Hi", {}, 5])
def test_what_is_no_list_of_messages_is_refused(messages: JsonValue) -> None:
    with pytest.raises(InvalidEventError, match=r"^messages: expected an array, got "):
        read_messages(messages, "Hi")


NAMES = st.sampled_from(
    [
        *("role", "content", "type", "text", "parts", "from", "value", "kwargs", "lc", "data", "id", "tool_calls"),
        *("image_url", "url", "source", "inlineData", "functionCall", "functionResponse", "audio", "name", "refusal"),
        *("function_call", "additional_kwargs", "input", "args", "thought", "kind", "media_type", "mimeType"),
    ]
)
WORDS = st.sampled_from(
    ["user", "assistant", "text", "image", "tool_use", "tool_result", "thinking", "document", "ai", "unread", "audio"]
)
JSON: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)


@given(messages=st.lists(st.dictionaries(NAMES, JSON, max_size=5), max_size=4), response=JSON)
def test_messages_of_any_shape_are_read_and_nothing_but_the_response_can_be_refused(
    messages: list[JsonValue], response: JsonValue
) -> None:
    before = json.dumps(messages)
    assert isinstance(read_messages(messages, "Hi"), ReadMessages)
    try:
        found = read_messages(messages, response)
    except InvalidEventError as error:
        assert str(error).startswith("response: ")  # noqa: PT017 - most are taken
    else:
        assert (found.response is None) == (response is None)
    assert json.dumps(messages) == before
