"""The rows that were written for the edit model."""

from pathlib import Path

import pytest

from protector_models.detoxification.protected_words import is_identity_term
from protector_models.detoxification.tagged_words import split_words
from protector_models.records.excluded_texts import is_excluded_text
from protector_models.training.detoxification.careful_rows import CarefulRows, load_careful_rows


@pytest.fixture(scope="module")
def rows() -> CarefulRows:
    return load_careful_rows(held_out_percent=20)


def test_no_sentence_is_on_both_sides_or_twice(rows: CarefulRows) -> None:
    innocent = [*rows.innocent, *rows.held_out_innocent]
    toxic = [pair.source for pair in (*rows.pairs, *rows.held_out_pairs)]
    assert len(innocent) >= 800
    assert len(toxic) >= 150
    assert len({text.lower() for text in (*innocent, *toxic)}) == len(innocent) + len(toxic)
    assert 0.1 < len(rows.held_out_innocent) / len(innocent) < 0.3


def test_nothing_of_a_public_benchmark_is_among_them(rows: CarefulRows) -> None:
    texts = [*rows.innocent, *rows.held_out_innocent, *(pair.source for pair in (*rows.pairs, *rows.held_out_pairs))]
    assert not any(is_excluded_text(text) for text in texts)


def test_an_edit_changes_something_and_takes_out_no_word_for_who_somebody_is(rows: CarefulRows) -> None:
    for pair in (*rows.pairs, *rows.held_out_pairs):
        (edited,) = pair.human_rewrites
        assert edited != pair.source
        before, after = (
            {text[word.start : word.end].lower() for word in split_words(text)} for text in (pair.source, edited)
        )
        # Words that are slurs as nouns, and ages that an insult is made of, are exempt: "two dykes", "old fart".
        gone = {word for word in before - after if is_identity_term(word)}
        assert gone <= {"queer", "old", "blind"} or "bitch" in pair.source, pair.source


def test_a_line_that_is_no_pair_is_refused_without_its_words(tmp_path: Path) -> None:
    (tmp_path / "innocent.txt").write_text("# a kind\nA cat sat.\n")
    (tmp_path / "pairs.txt").write_text("secret words without an edit\n")
    with pytest.raises(ValueError, match="got 28 characters") as refused:
        load_careful_rows(held_out_percent=20, directory=tmp_path)
    assert "secret" not in str(refused.value)
