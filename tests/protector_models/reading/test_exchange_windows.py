"""Tests of `exchange_windows`: what is read of an exchange that does not fit into one input."""

import re
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from protector_models.reading.exchange_windows import ExchangeCover, cover_exchange

_MAX_TOKENS = 60


def tokenise(text: str) -> list[tuple[int, int]]:
    """A token is a word."""
    return [word.span() for word in re.finditer(r"\S+", text)]


def find_unread(text: str) -> Sequence[int]:
    """Nothing is known of a #."""
    return [place for place, character in enumerate(text) if character == "#"]


def cover(prompt: str, response: str, *, max_windows: int = 64) -> ExchangeCover:
    return cover_exchange(
        prompt,
        response,
        tokenise,
        max_tokens=_MAX_TOKENS,
        overlap=4,
        max_windows=max_windows,
        find_unread=find_unread,
    )


def count_words(num: int, name: str) -> str:
    return " ".join(f"{name}{index}" for index in range(num))


@given(num_prompt=st.integers(0, 300), num_response=st.integers(0, 600))
def test_every_word_is_in_a_window_and_no_window_is_too_long(num_prompt: int, num_response: int) -> None:
    prompt, response = count_words(num_prompt, "q"), count_words(num_response, "r")
    found = cover(prompt, response)
    assert found.characters_evaluated == found.characters_total == len(prompt) + len(response)
    for text, parts in (
        (prompt, [window.prompt for window in found.windows]),
        (response, [window.response for window in found.windows]),
    ):
        assert set(text.split()) == {word for part in parts for word in part.split()}
    assert all(len(tokenise(f"{each.prompt} {each.response}")) <= _MAX_TOKENS for each in found.windows)


def test_every_window_of_a_response_stands_beside_a_short_prompt() -> None:
    found = cover("Who?", count_words(200, "r"))
    assert len(found.windows) > 1
    assert {window.prompt for window in found.windows} == {"Who?"}


def test_more_windows_than_are_allowed_leave_out_some_between_and_say_so() -> None:
    found = cover("Who?", count_words(1_000, "r"), max_windows=3)
    assert len(found.windows) == 3
    assert found.windows[0].response.startswith("r0 ")
    assert found.windows[-1].response.endswith("r999")
    assert found.characters_evaluated == len("Who?") + sum(len(window.response) for window in found.windows)


@given(num_words=st.integers(0, 300), place=st.integers(0, 300))
def test_characters_that_no_token_tells_anything_of_count_as_not_read_once(num_words: int, place: int) -> None:
    words = count_words(num_words, "r").split()
    words.insert(min(place, num_words), "####")
    found = cover("Who?", " ".join(words))
    assert found.characters_total - found.characters_evaluated == 4
