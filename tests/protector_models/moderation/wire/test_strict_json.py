"""JSON with one meaning for every reader, and what is said of other bytes."""

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.wire.codec import decode, decode_event, find_event_id
from protector_models.moderation.wire.strict_json import (
    MAX_DEPTH,
    RefusedJsonError,
    _read_slowly,
    find_member,
    read_json,
)
from tests.wire import EVENT, MAX_BYTES, encode

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
EVENTS = st.fixed_dictionaries(
    {name: st.just(value) for name, value in EVENT.items()}
    | {
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.just("user"), "content": KEYS}, optional={"x": JSON, "tool_calls": JSON})
        ),
        "metadata": st.dictionaries(KEYS, JSON, max_size=3),
    }
)
BLANKS = st.text(" \t\r\n", max_size=2)


class Twice(list[tuple[str, object]]):
    """An object as its members, of which some have the same key."""


def objects_in(value: object) -> Iterator[Twice]:
    if isinstance(value, Twice):
        yield value
    inner = [member for _, member in value] if isinstance(value, Twice) else value if isinstance(value, list) else []
    for item in inner:
        yield from objects_in(item)


def members_of(value: object) -> object:
    if isinstance(value, dict):
        return Twice((key, members_of(member)) for key, member in value.items())
    return [members_of(item) for item in value] if isinstance(value, list) else value


def write(value: object, data: st.DataObject) -> str:
    """Write JSON with any blanks between its signs and any letters of its keys escaped."""
    blank = data.draw(BLANKS)
    if isinstance(value, Twice):
        members = (f"{write_key(key, data)}{blank}:{blank}{write(member, data)}" for key, member in value)
        return "{" + blank + f"{blank},".join(members) + "}"
    if isinstance(value, list):
        return "[" + f",{blank}".join(write(item, data) for item in value) + "]"
    return json.dumps(value)


def write_key(key: str, data: st.DataObject) -> str:
    if not key or not data.draw(st.booleans()):
        return json.dumps(key, ensure_ascii=data.draw(st.booleans()))
    written = "".join(f"\\u{unit:04x}" for unit in _utf_16_units(key[0]))
    return f'"{written}{json.dumps(key[1:])[1:]}'


def _utf_16_units(character: str) -> list[int]:
    encoded = character.encode("utf-16-be")
    return [int.from_bytes(encoded[place : place + 2]) for place in range(0, len(encoded), 2)]


@given(event=EVENTS, data=st.data())
def test_an_event_with_a_key_twice_is_refused_wherever_and_however_it_is_written(
    event: dict[str, JsonValue], data: st.DataObject
) -> None:
    members = members_of(event)
    assert decode_event(write(members, data).encode(), max_bytes=MAX_BYTES)
    candidates = [found for found in objects_in(members) if found]
    chosen = data.draw(st.sampled_from(candidates))
    key, member = data.draw(st.sampled_from(chosen))
    other = data.draw(st.just(member) | JSON.map(members_of))
    chosen.insert(data.draw(st.integers(0, len(chosen))), (key, other))
    with pytest.raises(InvalidEventError, match="a key is there twice"):
        decode_event(write(members, data).encode(), max_bytes=MAX_BYTES)


@given(event=EVENTS)
def test_an_event_is_read_as_the_parser_of_the_standard_library_reads_it(event: dict[str, JsonValue]) -> None:
    assert read_json(json.dumps(event).encode()) == event


@given(event=EVENTS)
def test_how_an_event_is_spaced_changes_nothing(event: dict[str, JsonValue]) -> None:
    usual, narrow, wide = (
        decode(json.dumps(event, separators=separators).encode(), max_bytes=MAX_BYTES)
        for separators in ((", ", ": "), (",", ":"), (" , ", " : "))
    )
    assert usual == narrow == wide


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (encode()[:-1] + b', "response": "no"}', "response: "),
        (encode()[:-1] + b', "\\u0072esponse": "no"}', "response: "),
        (encode().replace(b'"content"', b'"role": "user", "content"'), "messages.0.role: "),
        (encode().replace(b'"metadata": {}', b'"metadata": {"secret": [{"a": 1, "a": 2}]}'), "metadata: "),
        (encode()[:-1] + b', "unheard-of": 1, "unheard-of": 1}', ""),
    ],
)
def test_where_a_key_is_there_twice_is_told_as_far_as_the_names_are_ours(value: bytes, path: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        decode_event(value, max_bytes=MAX_BYTES)
    assert str(caught.value) == f"{path}a key is there twice"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("place", ["metadata", "message", "part", "call"])
def test_what_is_no_number_of_jsons_is_refused_wherever_it_stands(number: str, place: str) -> None:
    changes: dict[str, dict[str, JsonValue]] = {
        "metadata": {"metadata": {"score": "HERE"}},
        "message": {"messages": [{"role": "user", "content": "Hi", "score": "HERE"}]},
        "part": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "score": ["HERE"]}]}]},
        "call": {"messages": [{"role": "assistant", "tool_calls": ["HERE"]}]},
    }
    value = encode(**changes[place]).replace(b'"HERE"', number.encode())
    with pytest.raises(InvalidEventError, match=f"{number} is no JSON number"):
        decode_event(value, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1.5E+400", "1" * 400 + ".0"])
@pytest.mark.parametrize("metadata", [{"a": "HERE"}, {"a": [1, {"b": ["HERE"]}]}, {"a": {"b": "HERE", "c": 0.5}}])
@pytest.mark.parametrize("is_plain", [True, False])
def test_a_number_that_no_float_holds_is_refused(number: str, metadata: dict[str, JsonValue], is_plain: bool) -> None:
    content: JsonValue = "Hi" if is_plain else [{"type": "text", "text": "Hi"}]
    event = encode(metadata=metadata, messages=[{"role": "user", "content": content}])
    with pytest.raises(InvalidEventError, match=r"^a number is out of range$"):
        decode_event(event.replace(b'"HERE"', number.encode()), max_bytes=MAX_BYTES)


def test_the_names_of_such_numbers_are_texts_like_others_in_a_text() -> None:
    event = decode_event(encode(response="NaN, Infinity", metadata={"NaN": "-Infinity"}), max_bytes=MAX_BYTES)
    assert (event.response, event.metadata) == ("NaN, Infinity", {"NaN": "-Infinity"})


@pytest.mark.parametrize("text", ['"a": 1', '\\"a": 1', ": : :", '":"', "\\", '"response":"x"', '{"a":1,"a":2}'])
def test_a_text_that_looks_like_json_is_a_text(text: str) -> None:
    event = decode_event(encode(response=text, metadata={text: {text: [text]}}), max_bytes=MAX_BYTES)
    assert (event.response, event.metadata) == (text, {text: {text: [text]}})


@pytest.mark.parametrize("depth", [1, MAX_DEPTH, MAX_DEPTH + 1, 900, 100_000])
def test_nesting_has_one_limit(depth: int) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        value = opening * depth + b"1" + closing * depth
        if depth <= MAX_DEPTH:
            assert read_json(value) is not None
        else:
            with pytest.raises(RefusedJsonError, match="nested too deeply"):
                read_json(value)


@pytest.mark.parametrize(
    "value", [b"", b"{", b'{"a" 1}', b"{'a': 1}", b'{"a": 01}', b'"a\nb"', b'"\\x"', b"\xff", b'"\\ud800"', b"1 2"]
)
def test_what_is_not_json_is_refused(value: bytes) -> None:
    with pytest.raises(RefusedJsonError):
        read_json(value)


@pytest.mark.parametrize(
    ("value", "event_id"),
    [
        (encode(response=5), "event-1"),
        (encode("conversation_id", unheard_of=1), "event-1"),
        (encode()[:60], "event-1"),
        (encode()[:-1] + b', "x": }', "event-1"),
        (encode()[:-1] + b', "response": "twice"}', "event-1"),
        (encode(response="caf\u00e9").replace(b"\\u00e9", b"\xe9"), "event-1"),
        (encode(metadata={"a": "HERE"}).replace(b'"HERE"', b"NaN"), "event-1"),
        (encode("event_id")[:-1] + b', "\\u0065vent_id": "late", "x": 1}', "late"),
        (b' { "event_id" : "spaced" ,', "spaced"),
        (encode()[:-1] + b', "event_id": "event-2"}', None),
        (encode(event_id=5), None),
        (encode(event_id=""), None),
        (encode(event_id="e" * 513), None),
        (encode().replace(b'"event-1"', b'"\\ud800"'), None),
        (encode().replace(b'"event-1"', b'"\xff"'), None),
        (encode("event_id"), None),
        (b"[" + encode() + b"]", None),
        (encode(metadata={"event_id": "inner"}, response=5).replace(b'"event_id": "event-1", ', b""), None),
        (b'{"messages": [{"event_id": "inner"', None),
        (b'{"event_id": "cut', None),
        (b'{"a": ' + b"[" * 100_000, None),
        (b"{" * 100, None),
        (b'{"a": 1 "event_id": "x"}', None),
        (b"{,}", None),
        (b"", None),
        (None, None),
    ],
)
def test_the_identifier_of_bytes_that_are_no_event_is_found_where_it_is_there(
    value: bytes | None, event_id: str | None
) -> None:
    assert find_event_id(value, max_bytes=MAX_BYTES) == event_id


def test_no_more_of_bytes_that_are_too_many_is_looked_at_than_the_limit_allows() -> None:
    assert find_event_id(encode(), max_bytes=60) == "event-1"
    assert find_event_id(b" " * 60 + encode(), max_bytes=60) is None


@given(value=st.binary(max_size=60) | st.builds(lambda at: encode()[:at], st.integers(0, len(encode()))))
def test_a_member_is_looked_for_in_any_bytes(value: bytes) -> None:
    assert find_member(value, "event_id") in {None, "event-1"}


def read_either(read: Callable[[bytes], JsonValue], value: bytes) -> str:
    try:
        return repr(read(value))
    except RefusedJsonError as error:
        return f"{error.message} at {error.path}"


NUMBERS = st.floats().map(json.dumps) | st.sampled_from(
    ["-0", "-0.0", "1e999", "1E5", "1" * 25, "0.1e-400", "01", "1."]
)


@given(
    value=st.builds(lambda item, data: write(members_of(item), data), JSON, st.data()),
    number=NUMBERS,
    damage=st.lists(st.tuples(st.integers(0, 200), st.sampled_from(list('"\\:,{}[]ud8'))), max_size=2),
)
def test_both_parsers_read_the_same_and_say_the_same(value: str, number: str, damage: list[tuple[int, str]]) -> None:
    written = list(value.replace("null", number))
    for place, sign in damage:
        if place < len(written):
            written[place] = sign
    encoded = "".join(written).encode()
    assert read_either(read_json, encoded) == read_either(_read_slowly, encoded)
