"""How much an event may hold: refused early, in little time and memory, with what was expected."""

import time
import tracemalloc
from collections.abc import Callable

import pytest
from pydantic import JsonValue

from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.messages.message import MAX_MESSAGES, MAX_PARTS
from protector_models.moderation.messages.tool_calls import MAX_ARGUMENT_VALUES
from protector_models.moderation.wire.codec import decode_event, find_event_id
from protector_models.moderation.wire.strict_json import MAX_VALUES
from tests.wire import encode

EVENT_MAX_BYTES = 16_000_000
MESSAGE: JsonValue = {"role": "user", "content": "a"}
PART: JsonValue = {"type": "text", "text": "a"}


def filled(event: bytes, item: bytes) -> bytes:
    """Put as many items in the place of "HERE" as an event may have bytes."""
    before, after = event.split(b'"HERE"')
    number = (EVENT_MAX_BYTES - len(event)) // (len(item) + 1)
    return before + b",".join([item] * number) + after


def in_messages(item: bytes) -> bytes:
    return filled(encode(messages=["HERE"]), item)


def in_parts(item: bytes) -> bytes:
    return filled(encode(messages=[{"role": "user", "content": ["HERE"]}]), item)


def in_metadata(item: bytes) -> bytes:
    return filled(encode(metadata={"a": ["HERE"]}), item)


def as_keys() -> bytes:
    return filled(encode()[:-1] + b',"HERE"}', b'"k":1')


@pytest.mark.parametrize(
    "write",
    [
        lambda: in_messages(b'{"role":"user","content":"a"}'),
        lambda: in_messages(b"{}"),
        lambda: in_parts(b'{"type":"text","text":"a"}'),
        lambda: in_parts(b'""'),
        lambda: in_metadata(b"1"),
        lambda: in_metadata(b'{"a":[]}'),
        as_keys,
    ],
    ids=["messages", "empty messages", "parts", "texts", "numbers", "objects", "keys"],
)
def test_millions_of_small_values_are_refused_before_they_are_read(write: Callable[[], bytes]) -> None:
    value = write()
    began_s = time.thread_time()
    with pytest.raises(InvalidEventError, match=f"too many values; expected at most {MAX_VALUES} in all objects"):
        decode_event(value, max_bytes=EVENT_MAX_BYTES)
    # They took 14 s and 700 MB. These are seconds of the CPU; another one's work counts as far as it slows this down.
    assert time.thread_time() - began_s < 2
    tracemalloc.start()
    with pytest.raises(InvalidEventError):
        decode_event(value, max_bytes=EVENT_MAX_BYTES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


@pytest.mark.parametrize("write", [lambda: in_metadata(b"[]"), as_keys])
def test_the_identifier_of_what_is_refused_is_found_in_little_memory(write: Callable[[], bytes]) -> None:
    value = write()
    tracemalloc.start()
    assert find_event_id(value, max_bytes=EVENT_MAX_BYTES) == "event-1"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


def test_a_text_may_hold_any_number_of_the_signs_that_stand_between_values() -> None:
    text = ',[{:"\\' * MAX_VALUES
    event = decode_event(encode(response=text), max_bytes=EVENT_MAX_BYTES)
    assert event.response == text


@pytest.mark.parametrize(("more", "is_taken"), [(0, True), (1, False)])
def test_as_many_values_as_the_limit_says_are_taken(more: int, is_taken: bool) -> None:
    usual = sum(encode(metadata={"a": []}).count(sign) for sign in (b",", b"[", b"{"))
    value = encode(metadata={"a": [1] * (MAX_VALUES - usual + 1 + more)})
    if is_taken:
        assert decode_event(value, max_bytes=EVENT_MAX_BYTES).event_id == "event-1"
    else:
        with pytest.raises(InvalidEventError, match="too many values"):
            decode_event(value, max_bytes=EVENT_MAX_BYTES)


@pytest.mark.parametrize(
    ("number", "write", "said"),
    [
        (MAX_MESSAGES, lambda number: encode(messages=[MESSAGE] * number), "messages: expected at most 10000"),
        (
            MAX_PARTS,
            lambda number: encode(
                messages=[
                    {"role": "user", "content": [PART] * (number // 2)},
                    {"role": "user", "content": [PART] * (number - number // 2)},
                ]
            ),
            "expected at most 10000 parts in all messages",
        ),
    ],
    ids=["messages", "parts"],
)
def test_an_event_has_so_many_messages_and_parts_at_most(number: int, write: Callable[[int], bytes], said: str) -> None:
    assert decode_event(write(number), max_bytes=EVENT_MAX_BYTES).event_id == "event-1"
    with pytest.raises(InvalidEventError, match=said):
        decode_event(write(number + 1), max_bytes=EVENT_MAX_BYTES)


@pytest.mark.parametrize("form", ["tool_calls", "part"])
def test_what_stands_as_json_in_the_arguments_of_a_call_has_a_limit_of_its_own(form: str) -> None:
    arguments = f"[{'1,' * MAX_ARGUMENT_VALUES}1]"
    function: JsonValue = {"name": "f", "arguments": arguments}
    message: JsonValue = (
        {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}
        if form == "tool_calls"
        else {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": arguments}]}
    )
    with pytest.raises(InvalidEventError, match="values in the arguments of a tool's call"):
        decode_event(encode(messages=[message]), max_bytes=EVENT_MAX_BYTES)


def test_very_many_unknown_keys_are_told_by_their_number() -> None:
    value = encode(**{str(number): 0 for number in range(2_000)})
    with pytest.raises(InvalidEventError, match=r"^2008 keys; expected none but schema_version, "):
        decode_event(value, max_bytes=EVENT_MAX_BYTES)
