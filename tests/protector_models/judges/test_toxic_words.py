from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.checkpoints.cards import CheckpointError
from protector_models.judges.toxic_words import ToxicWords

WORDS = ToxicWords(["damn", "s**t", "you're"])


@pytest.mark.parametrize(
    ("text", "deleted"),
    [
        ("Damn, it rains.", ", it rains."),
        ("this is s**t  today", "this is today"),
        ("a DAMN damn\tday", "a day"),
        ("damnation is another word", "damnation is another word"),
        ("you're late", "late"),
        ("damn", ""),
        ("", ""),
    ],
)
def test_listed_words_are_taken_out_whatever_their_case(text: str, deleted: str) -> None:
    assert WORDS.delete(text) == deleted


@given(st.text())
def test_a_text_without_listed_words_comes_back_as_it_was(text: str) -> None:
    words = ToxicWords(["nosuchword"])
    assert words.delete(text) == text


@given(st.text())
def test_deleting_twice_changes_nothing_more(text: str) -> None:
    deleted = WORDS.delete(f"damn {text}")
    assert WORDS.delete(deleted) == deleted


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_a_list_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "words.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"words\.txt"):
        ToxicWords.load(file)


def test_a_list_is_read_with_one_word_a_line(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("damn\nheck\n", encoding="utf-8")
    assert ToxicWords.load(file).delete("damn heck no") == "no"
