from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from protector_models.transformer_models.control_tokens import break_up

TOKENS = ("<|end|>", "<|", "a b", "b ", "<a>", "aa")


@given(
    st.lists(st.sampled_from([*TOKENS, "a", "b", " ", "<", "|", ">", "x"])).map("".join),
    st.sets(st.sampled_from(TOKENS)),
)
def test_every_token_is_broken_in_turn_the_longest_first(text: str, tokens: Iterable[str]) -> None:
    expected = text
    for token in sorted(tokens, key=lambda token: (-len(token), token)):
        expected = expected.replace(token, f"{token[0]} {token[1:]}")
    assert break_up(text, tokens) == expected
    assert break_up(text, iter([*tokens, *tokens])) == expected


@given(st.text(alphabet="xyz \n"))
def test_a_text_without_any_stays_as_it_is(text: str) -> None:
    assert break_up(text, TOKENS) == text
