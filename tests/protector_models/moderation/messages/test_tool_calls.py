"""What calls of tools say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from protector_models.moderation.messages.tool_calls import call_text

WORDS = st.text("bcdfgh ", min_size=8, max_size=20).map(lambda text: f"x{text}x")
JSON: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


def strings(value: JsonValue) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for item in inner for text in strings(item)]


def function(arguments: JsonValue, *, name: str = "post") -> JsonValue:
    return {"id": "call-1", "type": "function", "function": {"arguments": arguments, "name": name}}


def test_a_call_says_its_name_and_then_the_texts_in_its_arguments() -> None:
    assert call_text(function('{"to": "Ann", "lines": ["one", {"more": "two"}], "times": 3}')) == "post\nAnn\none\ntwo"


@pytest.mark.parametrize(
    "call",
    [
        {"name": "post", "args": {"body": "so be it"}, "id": "1", "type": "tool_call"},
        {"name": "post", "input": {"body": "so be it"}, "type": "tool_use"},
        {"name": "post", "arguments": '{"body": "so be it"}'},
        {"type": "custom", "custom": {"input": "so be it", "name": "post"}},
    ],
)
def test_a_call_of_another_form_says_the_same(call: JsonValue) -> None:
    assert call_text(call) == "post\nso be it"


@pytest.mark.parametrize("arguments", ["so be it", "{so be it", '{"body": "so be it"', "[so be it]"])
def test_arguments_that_are_no_json_are_read_as_they_stand(arguments: str) -> None:
    assert call_text(function(arguments)) == f"post\n{arguments}"


@pytest.mark.parametrize(
    "arguments",
    [
        '{"body": "\\u0073o be it"}',
        '"\\u0073o be it"',
        json.dumps('{"body": "\\u0073o be it"}'),
        json.dumps({"payload": '["\\u0073o be it"]'}),
        '{"so be it": 1}',
        '{"body": "so be it", "body": "fine"}',
    ],
)
def test_neither_escapes_nor_nesting_nor_a_second_key_hide_a_text(arguments: str) -> None:
    assert "so be it" in call_text(function(arguments)).split("\n")


@pytest.mark.parametrize(
    "name", ["so_be_it_said_to_all", "soBeItSaidToAll", "SO_be_it_said_to_all", "x" * 41, "a1_" * 20, "a_b_c_d_e_f"]
)
@pytest.mark.parametrize("as_string", [True, False])
def test_a_key_that_is_as_long_as_a_sentence_is_a_text(name: str, as_string: bool) -> None:
    arguments: JsonValue = {"options": {name: 1}}
    assert name in call_text(function(json.dumps(arguments) if as_string else arguments)).split("\n")


@pytest.mark.parametrize(
    "name", ["id", "max_results", "numResultsPerPage", "HTTPStatusCode", "include_all_of_them", "_"]
)
def test_a_key_that_may_be_the_name_of_a_parameter_is_none(name: str) -> None:
    assert call_text(function({name: 1})) == "post"


@given(arguments=JSON, as_string=st.booleans())
def test_every_text_in_the_arguments_of_a_call_is_said(arguments: JsonValue, as_string: bool) -> None:
    said = call_text(function(json.dumps(arguments) if as_string else arguments)).split("\n")
    assert set(strings(arguments)) <= set(said)


@pytest.mark.parametrize("call", [None, 5, True, [], {}, "", function("[" * 100_000), function("{")])
def test_a_call_of_any_shape_says_something_or_nothing(call: JsonValue) -> None:
    assert isinstance(call_text(call), str)
