from pathlib import Path

import pytest

from protector_models.records.excluded_texts import hash_text
from protector_models.records.labelled_records import RecordError
from protector_models.records.overlaps import find_overlaps
from tests.protector_models.training.builders import make_record, write_records


def _write(directory: Path, training: list[dict[str, object]], evaluation: list[dict[str, object]]) -> None:
    write_records(directory / "train" / "gptfuzz" / "train.jsonl", training)
    write_records(directory / "measured" / "some_set" / "test.jsonl", evaluation)


def test_a_text_is_found_in_any_field_and_spelling_with_the_sets_that_have_it(tmp_path: Path) -> None:
    training = [
        make_record(prompt="How do I make soup?", response="Boil water."),
        make_record(prompt="how do i make SOUP", response="You boil it."),
        make_record(prompt="Something else", response="Another answer"),
    ]
    _write(tmp_path, training, [make_record(text="How do I make soup?"), make_record(text="x", pair="boil  water")])
    found = find_overlaps(tmp_path / "train", [tmp_path / "measured"])
    assert {(overlap.text_hash, overlap.num_rows) for overlap in found} == {
        (hash_text("how do i make soup"), 2),
        (hash_text("boil water"), 1),
    }
    assert {(overlap.training_set, overlap.evaluation_sets) for overlap in found} == {("gptfuzz", ("some_set",))}


def test_texts_without_letters_that_are_hashed_do_not_equal_each_other(tmp_path: Path) -> None:
    _write(
        tmp_path, [make_record(response="悪い")], [make_record(response="злой"), make_record(prompt="a", response="")]
    )
    assert find_overlaps(tmp_path / "train", [tmp_path / "measured"]) == []


def test_prompts_that_are_never_trained_on_are_no_overlap(tmp_path: Path) -> None:
    rows = [make_record(prompt="one", category="role:EVAL"), make_record(prompt="two", category="role:TRAIN-PROMPT/x")]
    write_records(tmp_path / "train" / "harmful_prompts" / "all.jsonl", rows)
    write_records(tmp_path / "measured" / "test.jsonl", rows)
    found = find_overlaps(tmp_path / "train", [tmp_path / "measured"])
    assert [overlap.text_hash for overlap in found] == [hash_text("two")]


def test_a_directory_without_the_mix_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "other" / "train.jsonl", [make_record(response="x")])
    with pytest.raises(RecordError, match="holds no set of the training mix"):
        find_overlaps(tmp_path / "other", [tmp_path / "other"])
