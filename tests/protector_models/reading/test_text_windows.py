import time
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, TOKENIZER_FILE
from protector_models.reading.languages import LanguageIdentifier
from protector_models.reading.text_windows import TextCover, cover_text
from protector_models.reading.window_cuts import WindowSize

SMALL = WindowSize(num_tokens=8, overlap=3)


@cache
def _tokenizer() -> Tokenizer:
    tokenizer: Tokenizer = Tokenizer.from_file(str(SHIPPED_WEIGHTS / TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _cover(text: str, max_windows: int = 64, size: WindowSize = SMALL) -> TextCover:
    return cover_text(text, _tokenizer(), LanguageIdentifier.load(), size, max_windows=max_windows)


def _count_unread(text: str, cover: TextCover) -> int:
    """Counts characters that carry meaning and lie in no window."""
    read = {position for window in cover.windows for position in range(window.start, window.end)}
    return sum(not character.isspace() and position not in read for position, character in enumerate(text))


@pytest.mark.parametrize("num_words", [0, 1, 7, 8, 9, 13, 14, 100])
def test_every_word_is_in_some_window_and_no_window_is_too_long(num_words: int) -> None:
    text = " ".join(f"w{index}" for index in range(num_words))
    cover = _cover(text)
    assert _count_unread(text, cover) == 0
    assert cover.num_characters_read == cover.num_characters == len(text)
    assert max(len(window.token_ids) for window in cover.windows) <= SMALL.num_tokens


def test_neighbouring_windows_share_tokens() -> None:
    first, second, *_ = _cover("one two three four five six seven eight nine ten eleven twelve thirteen").windows
    assert first.token_ids[-SMALL.overlap :] == second.token_ids[: SMALL.overlap]


def test_an_empty_text_has_one_empty_window() -> None:
    (window,) = _cover("").windows
    assert window.token_ids == []


@given(st.text(alphabet=st.characters(), max_size=300))
def test_any_text_is_covered_with_counts_that_fit_it(text: str) -> None:
    cover = _cover(text, max_windows=4)
    assert 1 <= len(cover.windows) <= 4
    assert 0 <= cover.num_characters_read <= cover.num_characters == len(text)


def test_a_text_of_too_many_windows_keeps_head_and_tail_and_says_how_much_was_read() -> None:
    text = "start " + "middle " * 60 + "finish"
    cover = _cover(text, max_windows=3)
    assert len(cover.windows) == 3
    assert cover.windows[0].start == 0
    assert cover.windows[-1].end == len(text)
    assert cover.num_characters_read == len(text) - _count_unread(text, cover) - sum(
        text[position].isspace()
        for position in range(len(text))
        if not any(window.start <= position < window.end for window in cover.windows)
    )
    assert cover.num_characters_read < cover.num_characters


def test_a_long_word_is_read_in_pieces_and_not_as_one_unknown_token() -> None:
    word = "dangerous" * 40
    cover = _cover(word, size=WindowSize(num_tokens=160, overlap=40))
    unknown = _tokenizer().token_to_id("[UNK]")
    tokens = [token for window in cover.windows for token in window.token_ids]
    assert unknown not in tokens
    assert len(tokens) > 40
    assert _count_unread(word, cover) == 0


def test_positions_refer_to_the_text_given_although_long_runs_are_broken() -> None:
    text = "x" * 100 + " end"
    cover = _cover(text, size=WindowSize(num_tokens=160, overlap=40))
    assert cover.windows[-1].end == len(text)


def test_lone_surrogates_are_read_as_one_character_each() -> None:
    cover = _cover("a \ud800 b \udfff")
    assert cover.num_characters_read == cover.num_characters == 7


def test_five_megabytes_take_no_longer_than_a_few_slices() -> None:
    text = "plain words and more " * 250_000
    size = WindowSize(num_tokens=160, overlap=40)
    start = time.perf_counter()
    cover = _cover(text, size=size)
    # All of it takes several seconds to tokenise, the slices some hundredths; the bound leaves room for a busy core.
    assert time.perf_counter() - start < 2.0
    assert len(cover.windows) == 64
    assert cover.windows[0].start == 0
    assert cover.windows[-1].end >= len(text) - 1
    assert cover.num_characters_read < 0.02 * len(text)


@pytest.mark.parametrize("overlap", [-1, 8])
def test_an_overlap_that_would_never_advance_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        WindowSize(num_tokens=8, overlap=overlap)


def test_characters_in_unknown_tokens_and_dropped_tags_are_counted_one_by_one() -> None:
    text = "read 𒀀𒀁𒀂𒀃 x\U000e0061\U000e0062y " + "⠅" * 40 + " 🔥 end"
    cover = _cover(text)
    assert cover.num_characters - cover.num_characters_read == 4 + 2 + 40


@pytest.mark.parametrize("repeats", [30, 3_000])
def test_unknown_tokens_count_as_unread_also_where_windows_are_left_out(repeats: int) -> None:
    known, unknown = _cover("word kill " * repeats, max_windows=3), _cover("word 𒀀𒀁𒀂𒀃 " * repeats, max_windows=3)
    assert 0 < unknown.num_characters_read < known.num_characters_read < known.num_characters


def test_disguised_words_have_the_tokens_of_what_they_stand_for() -> None:
    plain = _cover("how to kill a man").windows[0].token_ids
    assert _cover("𝐡𝐨𝐰 ｔｏ k\u200bill а mаn").windows[0].token_ids == plain


def test_windows_of_a_text_that_is_read_in_another_form_refer_to_the_text_given() -> None:
    text = "𝐡𝐨𝐰 t o  k i l l a fish with ﬁre and\u200bon " * 5 + "end"
    cover = _cover(text, size=WindowSize(num_tokens=8, overlap=0))
    assert cover.windows[0].start == 0
    assert cover.windows[-1].end == len(text)
    assert all(before.end <= after.end for before, after in zip(cover.windows, cover.windows[1:], strict=False))
    assert text[cover.windows[0].start : cover.windows[0].end].startswith("𝐡𝐨𝐰 t o  k i l l")
    assert cover.num_characters_read == cover.num_characters == len(text)


def test_a_foreign_passage_is_not_read_and_its_language_is_named() -> None:
    foreign = "Zuerst musst du die Karte stehlen, dann das Konto leeren und alle Beweise verbrennen."
    text = f"𝐇𝐞𝐫𝐞 is what you asked me for, my friend.\n{foreign}\nI hope that this will help you with it."
    cover = _cover(text)
    assert cover.languages == {"de"}
    assert abs(cover.num_characters - cover.num_characters_read - len(foreign)) <= 1
