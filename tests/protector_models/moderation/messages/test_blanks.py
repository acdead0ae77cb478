"""What says nothing, though it is there."""

import pytest
from pydantic import JsonValue

from protector_models.moderation.messages.blanks import holds_something, is_blank, is_there, may_say


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\u2060\ufeff", "\u3164 \u115f", "\u2800", "\u00ad\ufe0f\u034f"])
def test_a_text_of_which_nobody_sees_anything_is_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", [".", "\u200ba", "ไ", "\U0001f6a2", "\u0301a"])
def test_a_text_of_which_something_is_seen_is_not_blank(text: str) -> None:
    assert not is_blank(text)


@pytest.mark.parametrize("value", [None, "", "\u200b", [], {}])
def test_an_empty_value_is_not_there(value: JsonValue) -> None:
    assert not is_there(value)
    assert not holds_something(value)


@pytest.mark.parametrize("value", ["a", ["a"], [None], {"text": ""}])
def test_a_text_or_a_container_holds_something(value: JsonValue) -> None:
    assert is_there(value)
    assert holds_something(value)


@pytest.mark.parametrize("value", [0, 1.5, True, False])
def test_a_number_is_there_and_holds_nothing(value: JsonValue) -> None:
    assert is_there(value)
    assert not holds_something(value)


@pytest.mark.parametrize("value", ["ephemeral", {"type": "ephemeral"}, "call_12", 7, True, [], "2026-11-21T12:00:00Z"])
def test_a_short_token_says_nothing(value: JsonValue) -> None:
    assert not may_say(value)


@pytest.mark.parametrize("value", ["so be it", "どうぞ", "x" * 65, ["so be it"], {"a": {"b": "so be it"}}])
def test_words_may_say_something(value: JsonValue) -> None:
    assert may_say(value)
