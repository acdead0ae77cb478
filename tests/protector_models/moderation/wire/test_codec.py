"""Events from bytes, moderated conversations to bytes, and what is said of bytes that are no event."""

import json
import resource
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.model_outputs import ScoredPiece
from protector_models.moderation.verdict import ModeratedConversation, Verdict
from protector_models.moderation.wire.codec import decode_event, encode_moderated
from tests import builders
from tests.protector_models.moderation.test_conversation import events
from tests.wire import EVENT, MAX_BYTES, encode, fake_moderator

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
IDENTIFIERS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


def error_of(value: bytes | None, *, max_bytes: int = MAX_BYTES) -> str:
    with pytest.raises(InvalidEventError) as caught:
        decode_event(value, max_bytes=max_bytes)
    assert caught.value.__cause__ is None
    return str(caught.value)


def read(value: bytes) -> ConversationEvent | str:
    """Return the event, or what is said of bytes that are none."""
    try:
        return decode_event(value, max_bytes=MAX_BYTES)
    except InvalidEventError as error:
        return str(error)


async def verdict_of(event: ConversationEvent) -> Verdict:
    (outcome,) = await fake_moderator().moderate([event])
    assert isinstance(outcome, Verdict)
    return outcome


@given(event_id=IDENTIFIERS, prompt=TEXTS, response=TEXTS | st.none(), metadata=st.dictionaries(TEXTS, TEXTS))
def test_an_event_is_read_as_it_was_written(
    event_id: str, prompt: str, response: str | None, metadata: dict[str, JsonValue]
) -> None:
    event = builders.event(response, event_id=event_id, prompt=prompt, metadata=metadata)
    assert decode_event(event.model_dump_json().encode(), max_bytes=MAX_BYTES) == event


@given(events)
def test_an_event_with_parts_and_calls_is_read_as_it_was_written(event: ConversationEvent) -> None:
    assert decode_event(event.model_dump_json().encode(), max_bytes=MAX_BYTES) == event


@pytest.mark.parametrize(
    "response", ["", "ok", "\x00", "\u2028\u2029\x85\n\r", "مرحبا بالعالم", "👩‍👩‍👧‍👦 e\u0301", "harm=0.9"]
)
async def test_a_moderated_conversation_is_one_line_that_reads_back(response: str) -> None:
    event = builders.event(response)
    verdict = await verdict_of(event)
    value = encode_moderated(event, verdict)
    assert b"\n" not in value
    moderated = ModeratedConversation.model_validate_json(value)
    assert value.decode() == moderated.model_dump_json()
    assert {name: getattr(moderated, name) for name in Verdict.model_fields} == dict(verdict)
    assert (moderated.event_id, moderated.conversation_id) == (event.event_id, event.conversation_id)
    assert moderated.occurred_at == event.occurred_at


@pytest.mark.parametrize(
    "pieces",
    [None, (), (builders.scored_piece(0.9, categories={"hate": 0.5}), builders.scored_piece(0.2, start=12, end=13))],
)
async def test_the_pieces_of_an_assessment_are_written_and_read_back(pieces: tuple[ScoredPiece, ...] | None) -> None:
    event = builders.event("ok")
    verdict = (await verdict_of(event)).model_copy(update={"assessment": builders.assessment(0.9, pieces=pieces)})
    value = encode_moderated(event, verdict)
    moderated = ModeratedConversation.model_validate_json(value)
    assert moderated.assessment is not None
    assert moderated.assessment.pieces == pieces
    assert value.decode() == moderated.model_dump_json()
    assert "pieces" in json.loads(value)["assessment"]


async def test_equal_verdicts_give_equal_bytes() -> None:
    event = builders.event("harm=0.9 category=hate category=violence")
    assert encode_moderated(event, await verdict_of(event)) == encode_moderated(event, await verdict_of(event))


async def test_text_without_a_utf8_form_is_refused_when_it_is_written() -> None:
    event = builders.event()
    verdict = (await verdict_of(event)).model_copy(update={"response": "secret \ud800"})
    with pytest.raises(ValueError, match="surrogates") as caught:
        encode_moderated(event, verdict)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_record_without_a_value_is_no_event() -> None:
    assert error_of(None) == "the record has no value; expected a JSON object"


def test_a_value_over_the_limit_is_refused_with_both_sizes_and_one_at_the_limit_is_read() -> None:
    value = encode()
    assert decode_event(value, max_bytes=len(value)).event_id == "event-1"
    assert error_of(value, max_bytes=len(value) - 1) == f"{len(value)} bytes; expected at most {len(value) - 1}"


@pytest.mark.parametrize("field", ["schema_version", "event_id", "conversation_id", "occurred_at", "messages"])
def test_a_required_field_that_is_missing_is_named(field: str) -> None:
    assert error_of(encode(field)) == f"{field}: Field required"


@pytest.mark.parametrize("field", ["tenant", "response", "metadata"])
def test_other_fields_may_be_missing(field: str) -> None:
    assert decode_event(encode(field), max_bytes=MAX_BYTES).event_id == "event-1"


@pytest.mark.parametrize("key", ["answer", "strange", "str", "stream", "content", "tuple[0]"])
def test_an_unknown_key_of_the_event_is_refused_with_those_that_are_known(key: str) -> None:
    message = error_of(encode(**{key: 1}))
    assert message.startswith("an unknown key; expected none but schema_version, event_id, ")


def test_unknown_keys_are_told_of_once() -> None:
    assert error_of(encode(one=1, two=2)) == error_of(encode(one=1))


@pytest.mark.parametrize("key", ["strange", "stream"])
def test_an_unknown_key_of_a_message_is_passed_over(key: str) -> None:
    messages: JsonValue = [{"role": "user", "content": "hi", key: 1}]
    assert decode_event(encode(messages=messages), max_bytes=MAX_BYTES).exchange("x").prompt == "hi"


@pytest.mark.parametrize("field", ["tenant", "metadata"])
def test_null_stands_for_a_field_that_may_be_missing(field: str) -> None:
    assert decode_event(encode(**{field: None}), max_bytes=MAX_BYTES) == decode_event(
        encode(field), max_bytes=MAX_BYTES
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"schema_version": 2}, "schema_version: Input should be 1, got int"),
        ({"schema_version": "1"}, "expected the integer 1, got str"),
        ({"schema_version": True}, "expected the integer 1, got bool"),
        ({"schema_version": 1.0}, "expected the integer 1, got float"),
        ({"occurred_at": "2026-01-31"}, "RFC 3339 date-time with an offset, such as 2026-01-31T12:00:00Z"),
        ({"occurred_at": 0}, "RFC 3339"),
        ({"event_id": ""}, "event_id: String should have at least 1 character"),
        ({"event_id": "e" * 513}, "event_id: String should have at most 512 characters"),
        ({"event_id": 7}, "event_id: Input should be a valid string, got int"),
        ({"tenant": 5}, "tenant: Input should be a valid string, got int"),
        ({"response": 5}, "response: expected a text, a message, a list of parts or null, got int"),
        ({"metadata": []}, "metadata: Input should be a valid dictionary, got list"),
        ({"messages": {}}, "messages: expected an array, got dict"),
        ({"messages": [0]}, "messages.0: expected an object, got int"),
    ],
)
def test_a_wrong_value_is_told_with_its_field_and_what_was_expected(
    changes: dict[str, JsonValue], expected: str
) -> None:
    assert expected in error_of(encode(**changes))


SECRET = "correct horse battery staple"


@pytest.mark.parametrize(
    "value",
    [
        encode(response={SECRET: SECRET}),
        encode(event_id={SECRET: SECRET}),
        encode(metadata=SECRET),
        encode(answer=SECRET),
        encode(type=SECRET, role=SECRET),
        encode(messages=SECRET),
        encode(messages=[SECRET]),
        encode()[:-1] + SECRET.encode(),
        SECRET.encode(),
        json.dumps(SECRET).encode(),
        encode(response=SECRET).replace(b"horse", b"\\ud800"),
        encode(response=SECRET).replace(b"horse", b"\xff"),
    ],
)
def test_what_the_conversation_says_is_never_told(value: bytes) -> None:
    message = error_of(value)
    assert not any(word in message for word in SECRET.split())


@pytest.mark.parametrize(
    "value",
    [
        encode(messages=[{"role": "user", "content": [{"type": "x" * 400}] * 1_001}]),
        encode(occurred_at="x" * 500_000),
        encode(**{"k" * 500_000: 1}),
        encode(**{f"key-{number}": 1 for number in range(900)}),
    ],
)
def test_a_message_is_short_whatever_the_event_holds(value: bytes) -> None:
    assert len(error_of(value)) < 600


@pytest.mark.parametrize(
    "write",
    [
        lambda: encode(messages=[0] * 1_000_000),
        lambda: encode(messages=[{"role": "user", "content": [0] * 1_000_000}]),
        lambda: encode(**{str(number): 0 for number in range(200_000)}),
    ],
    ids=["messages", "parts", "keys"],
)
def test_an_event_with_very_many_faults_is_refused_in_little_memory(write: Callable[[], bytes]) -> None:
    value = write()
    before_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert len(error_of(value, max_bytes=10_000_000)) < 600
    # An error for each fault took about 1,000 MiB; what is parsed takes some tens of them.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mib < 400


@pytest.mark.parametrize("depth", [100, 1_000, 100_000])
def test_deep_nesting_ends_as_an_error_or_an_event(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    value = encode().replace(b'"metadata": {}', b'"metadata": {"a": %b}' % nested)
    if depth == 100:
        assert decode_event(value, max_bytes=MAX_BYTES).event_id == "event-1"
    else:
        assert "nested too deeply; expected at most 200 levels" in error_of(value)
    assert error_of(b"[" * depth)


@pytest.mark.parametrize("digits", [19, 400, 4_299, 4_300, 4_301, 100_000])
def test_huge_integers_end_as_an_error_where_they_mean_something_and_are_nothing_in_metadata(digits: int) -> None:
    number = b"9" * digits
    assert len(error_of(encode().replace(b'"schema_version": 1', b'"schema_version": ' + number))) < 300
    value = encode().replace(b'"metadata": {}', b'"metadata": {"n": %b}' % number)
    if digits <= 4_300:
        assert decode_event(value, max_bytes=MAX_BYTES).event_id == "event-1"
    else:
        assert "out of range" in error_of(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_an_invalid_one(value: bytes) -> None:
    event = read(value)
    assert isinstance(event, ConversationEvent) or event.isprintable()


@given(data=st.data())
def test_a_damaged_event_is_an_event_or_an_invalid_one(data: st.DataObject) -> None:
    value = bytearray(encode())
    for position in data.draw(st.lists(st.integers(0, len(value) - 1), max_size=5)):
        value[position] = data.draw(st.integers(0, 255))
    event = read(bytes(value))
    assert isinstance(event, ConversationEvent) or len(event) < 600


JSON: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@given(field=st.sampled_from(sorted(EVENT)), value=JSON)
def test_any_json_in_any_field_is_an_event_or_an_invalid_one(field: str, value: JsonValue) -> None:
    event = read(encode(**{field: value}))
    assert isinstance(event, ConversationEvent) or event.startswith(field)
