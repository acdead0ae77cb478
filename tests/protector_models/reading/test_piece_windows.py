"""Windows over an answer are cut between its pieces, and each piece is judged in one of them."""

import time
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, TOKENIZER_FILE
from protector_models.reading.languages import LanguageIdentifier
from protector_models.reading.text_windows import TextCover, cover_text
from protector_models.reading.window_cuts import WindowSize, pack_pieces

SIZE = WindowSize(num_tokens=160, overlap=40)
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)
SIZES = st.integers(1, 40).flatmap(
    lambda num_tokens: st.builds(WindowSize, num_tokens=st.just(num_tokens), overlap=st.integers(0, num_tokens - 1))
)


@cache
def _tokenizer() -> Tokenizer:
    tokenizer: Tokenizer = Tokenizer.from_file(str(SHIPPED_WEIGHTS / TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _cover(text: str, *, max_windows: int = 64, size: WindowSize = SIZE) -> TextCover:
    identifier = LanguageIdentifier.load()
    return cover_text(text, _tokenizer(), identifier, size, max_windows=max_windows, by_piece=True)


def _lay_out(lengths: list[int]) -> list[tuple[int, int]]:
    edges = [sum(lengths[:place]) for place in range(len(lengths) + 1)]
    return list(pairwise(edges))


def _judged(text: str, cover: TextCover) -> list[str]:
    return [text[piece.start : piece.end] for window in cover.windows for piece in window.pieces]


@given(LENGTHS, SIZES)
def test_every_token_is_judged_in_one_window(lengths: list[int], size: WindowSize) -> None:
    judged = [piece for _, pieces in pack_pieces(_lay_out(lengths), size) for piece in pieces]
    assert [token for first, end in judged for token in range(first, end)] == list(range(sum(lengths)))


@given(LENGTHS, SIZES)
def test_windows_are_no_longer_than_their_size_and_begin_with_whole_pieces_as_context(
    lengths: list[int], size: WindowSize
) -> None:
    begins = {0}
    for begin, pieces in pack_pieces(_lay_out(lengths), size):
        assert begin <= pieces[0][0]
        assert pieces[-1][1] - begin <= size.num_tokens
        assert pieces[0][0] - begin <= size.overlap
        begins |= {first for first, _ in pieces}
        assert begin in begins


@given(LENGTHS, SIZES)
def test_where_a_piece_is_cut_depends_on_the_piece_alone(lengths: list[int], size: WindowSize) -> None:
    def cuts(of: list[int]) -> list[int]:
        return [end - first for _, pieces in pack_pieces(_lay_out(of), size) for first, end in pieces]

    assert cuts(lengths) == [length for one in lengths for length in cuts([one])]


@given(st.integers(1, 1_000), SIZES)
def test_a_long_piece_is_cut_into_equal_parts_of_at_most_half_a_window(length: int, size: WindowSize) -> None:
    parts = [end - first for _, pieces in pack_pieces([(0, length)], size) for first, end in pieces]
    assert max(parts) <= max(1, size.num_tokens // 2)
    assert max(parts) - min(parts) <= 1


def test_context_is_as_much_of_what_stands_before_as_fits() -> None:
    size = WindowSize(num_tokens=20, overlap=8)
    (_, first), (begin, second) = pack_pieces(_lay_out([9, 5, 3, 10]), size)
    assert first == [(0, 9), (9, 14), (14, 17)]
    assert (begin, second) == (9, [(17, 27)])


@given(st.text(alphabet="ab é漢🔥\u200b.\n|\"',:𝐤", max_size=300), st.sampled_from([8, 160]))
def test_the_pieces_of_a_cover_are_those_of_the_text_with_the_right_characters(text: str, num_tokens: int) -> None:
    cover = _cover(text, size=WindowSize(num_tokens=num_tokens, overlap=num_tokens // 4))
    pieces = [piece for window in cover.windows for piece in window.pieces]
    assert all(0 <= piece.start < piece.end <= len(text) for piece in pieces)
    assert all(before.end <= after.start for before, after in pairwise(pieces))
    for window in cover.windows:
        assert len(window.token_ids) <= num_tokens
        edges = [edge for piece in window.pieces for edge in (piece.first, piece.last)]
        assert edges == sorted(edges)
        assert all(piece.first < piece.last <= len(window.token_ids) for piece in window.pieces)
        assert not window.pieces or window.pieces[-1].last == len(window.token_ids)


def test_the_pieces_of_a_window_hold_the_tokens_of_their_characters() -> None:
    text = "𝐓𝐡𝐞 first one. The sec\u200bond one! | a | b |\nand a last one"
    for window in _cover(text).windows:
        for piece in window.pieces:
            (alone,) = _cover(text[piece.start : piece.end]).windows
            assert window.token_ids[piece.first : piece.last] == alone.token_ids


def test_the_same_tokens_are_judged_however_many_sentences_stand_before_them() -> None:
    sentence = "This is the sentence that is looked for."
    for number in range(0, 40, 3):
        text = "Some other words stand here. " * number + sentence
        assert _judged(text, _cover(text))[-1] == sentence


def test_a_hundred_items_are_judged_one_by_one() -> None:
    items = [f"- this is what stands in item number {number}" for number in range(100)]
    text = "\n".join(items)
    assert _judged(text, _cover(text)) == items


def test_one_sentence_of_a_hundred_thousand_characters_is_judged_in_parts() -> None:
    cover = _cover("word " * 20_000, max_windows=300)
    assert cover.num_characters_read == cover.num_characters
    assert {len(window.token_ids) for window in cover.windows} != {0}
    assert max(len(window.token_ids) for window in cover.windows) <= SIZE.num_tokens


def test_ten_thousand_sentences_of_one_word_are_read_in_a_second() -> None:
    text = "Word. " * 10_000
    started = time.process_time()
    cover = _cover(text, max_windows=200)
    # About a tenth of it is ours, the rest the tokenizer's; the bound leaves room for a busy core.
    assert time.process_time() - started < 3.0
    assert sum(len(window.pieces) for window in cover.windows) == 10_000


@pytest.mark.parametrize("text", ["", " \n", "\u200b"])
def test_a_text_without_tokens_has_one_window_and_no_pieces(text: str) -> None:
    (window,) = _cover(text).windows
    assert (window.token_ids, window.pieces) == ([], ())


def test_a_text_that_is_not_cut_into_pieces_names_none() -> None:
    cover = cover_text("One. Two.", _tokenizer(), LanguageIdentifier.load(), SIZE, max_windows=1)
    assert [window.pieces for window in cover.windows] == [()]


def test_of_slices_of_a_huge_text_the_characters_are_those_of_the_text() -> None:
    text = "".join(f"Here is sentence number {number}. " for number in range(40_000))
    cover = _cover(text, max_windows=8)
    judged = _judged(text, cover)
    assert judged[0] == "Here is sentence number 0."
    assert judged[-1] == "Here is sentence number 39999."
    whole = [piece for piece in judged if piece.startswith("Here is sentence number ") and piece.endswith(".")]
    assert len(whole) >= len(judged) - 16
