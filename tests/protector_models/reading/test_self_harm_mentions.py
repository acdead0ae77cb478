"""What speaks of self-harm by its words, and what only bears the name."""

import pytest

from protector_models.reading.self_harm_mentions import speaks_of_self_harm


@pytest.mark.parametrize(
    "text", ["Suicide runs in my family.", "how suicide attacks you at night", "thoughts of suicide", "suicidal again"]
)
def test_what_suicide_does_is_no_name(text: str) -> None:
    assert speaks_of_self_harm(text)


@pytest.mark.parametrize(
    "text", ["the Suicide Squad", "a suicide attack in 1944", "we ran suicide runs until dark", "kill -9 the process"]
)
def test_a_name_says_nothing(text: str) -> None:
    assert not speaks_of_self_harm(text)
