import pytest

from protector_models.detectors.shipped.window_layout import (
    MAX_PAIR_TOKENS,
    MAX_PROMPT_TOKENS,
    MAX_RESPONSE_TOKENS,
    PairLayout,
)

LAYOUT = PairLayout(start_id=1, separator_id=2)


class Vocabulary:
    """Knows the tokens it is given."""

    def __init__(self, **ids: int) -> None:
        self._ids = ids

    def token_to_id(self, token: str) -> int | None:
        return self._ids.get(token.strip("[]"))


def test_prompt_and_response_lie_in_segments_of_their_own() -> None:
    pair = LAYOUT.join([7, 8], [9])
    assert pair.input_ids == [1, 7, 8, 2, 9, 2]
    assert pair.segment_ids == [0, 0, 0, 0, 1, 1]


def test_pieces_lie_behind_the_prompt_and_the_last_one_holds_the_separator() -> None:
    pair = LAYOUT.join([7, 8], [9, 9, 9], [(0, 1), (1, 3)])
    assert pair.pieces == ((4, 5), (5, 8))
    assert pair.response == (4, 8)


def test_tokens_that_are_only_context_are_in_no_piece() -> None:
    assert LAYOUT.join([], [9, 9, 9], [(1, 2)]).pieces == ((3, 4),)


@pytest.mark.parametrize(("response", "piece"), [([], (2, 3)), ([9, 9], (2, 5))])
def test_a_response_that_is_not_cut_is_one_piece_also_where_it_is_empty(
    response: list[int], piece: tuple[int, int]
) -> None:
    for pair in (LAYOUT.join([], response), LAYOUT.join([], response, [])):
        assert pair.pieces == (piece,)
        assert pair.response == piece


@pytest.mark.parametrize(("prompt", "has_prompt"), [([], False), ([7], True)])
def test_a_window_says_whether_it_holds_a_prompt(prompt: list[int], *, has_prompt: bool) -> None:
    assert LAYOUT.join(prompt, [9]).has_prompt is has_prompt
    assert LAYOUT.join(prompt, []).has_prompt is has_prompt


def test_a_response_alone_keeps_its_segment() -> None:
    assert LAYOUT.join([], [9]).segment_ids == [0, 0, 1, 1]


def test_the_longest_parts_make_the_longest_window() -> None:
    pair = LAYOUT.join([5] * MAX_PROMPT_TOKENS, [6] * MAX_RESPONSE_TOKENS)
    assert len(pair.input_ids) == len(pair.segment_ids) == MAX_PAIR_TOKENS


@pytest.mark.parametrize(("num_prompt", "num_response"), [(MAX_PROMPT_TOKENS + 1, 0), (0, MAX_RESPONSE_TOKENS + 1)])
def test_a_part_that_is_too_long_is_an_error_and_never_cut(num_prompt: int, num_response: int) -> None:
    with pytest.raises(ValueError, match="at most"):
        LAYOUT.join([5] * num_prompt, [6] * num_response)


def test_special_tokens_come_from_the_vocabulary() -> None:
    assert PairLayout.for_vocabulary(Vocabulary(CLS=1, SEP=2)) == LAYOUT
    with pytest.raises(ValueError, match=r"no \[CLS\]"):
        PairLayout.for_vocabulary(Vocabulary(SEP=2))
