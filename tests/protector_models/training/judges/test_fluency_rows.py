import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.judges.toxic_words import ToxicWords
from protector_models.records.labelled_records import RecordError
from protector_models.training.judges.fluency_rows import break_sentence, make_rows, read_sentences
from tests.protector_models.training.judges.builders import write_judges_data

pytestmark = pytest.mark.training

WORDS = ToxicWords(["damn"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_judges_data(tmp_path_factory.mktemp("data") / "train")


def test_toxic_and_harmless_sentences_stand_on_both_sides(data: Path) -> None:
    training, _ = read_sentences(data)
    rows = make_rows(training, WORDS, random.Random(1))
    kinds = Counter((row.fluent, "damn" in row.text) for row in rows)
    assert all(kinds[fluent, toxic] > 0 for fluent in (True, False) for toxic in (True, False))
    fluent = {row.text for row in rows if row.fluent}
    written = {text for pair in training.pairs for text in (pair.source, *pair.rewrites)} | set(training.plain)
    assert fluent <= written


def test_the_same_seed_makes_the_same_rows_and_another_pass_breaks_anew(data: Path) -> None:
    training, _ = read_sentences(data)
    first, second = (make_rows(training, WORDS, random.Random(1)) for _ in range(2))
    assert first == second
    assert {row.text for row in make_rows(training, WORDS, random.Random(2))} != {row.text for row in first}


def test_no_sentence_is_learned_from_and_held_out(data: Path) -> None:
    training, held_out = read_sentences(data)
    assert held_out.pairs
    assert not {pair.source for pair in training.pairs} & {pair.source for pair in held_out.pairs}
    assert not set(training.plain) & set(held_out.plain)


@given(st.text(), st.integers())
def test_breaking_gives_another_text_or_none_whatever_the_text(text: str, seed: int) -> None:
    broken = break_sentence(text, random.Random(seed))
    assert broken is None or broken.split() != text.split()


def test_a_sentence_is_broken_in_several_ways() -> None:
    sentence = "he took the train to the old town with a friend"
    broken = {break_sentence(sentence, random.Random(seed)) for seed in range(100)}
    lengths = {len(text.split()) - len(sentence.split()) for text in broken if text}
    assert lengths == {-1, 0, 1}  # a word out, two swapped, one repeated


def test_evaluation_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="never trained on"):
        read_sentences(write_judges_data(tmp_path / "eval"))
