"""No text of these rows, and no longer sentence of one, is among what anything is trained on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from protector_models.evaluation.detoxification.behaviours.row_files import BehaviourSet, load_sets
from protector_models.evaluation.detoxification.behaviours.row_forms import (
    EditableRow,
    InnocentRow,
    InnocentTalkRow,
    LeftoversRow,
    NeedRow,
    OddRow,
    RowForm,
)
from protector_models.moderation.sentences import split_sentences
from protector_models.records.excluded_texts import hash_text
from protector_models.records.labelled_records import find_record_files, read_records

PROJECT = Path(__file__).parents[5]
DATA = PROJECT.parent / "shared" / "data" / "train"
MIN_WORDS = 6
"""Shorter sentences are everybody's: "What should I do now?" is no copy."""


def texts_of(row: RowForm) -> list[str]:
    match row:
        case LeftoversRow():
            return [row.prompt, row.response, *(text for _, text in row.sentences)]
        case InnocentRow() | EditableRow():
            return [row.text]
        case NeedRow() | InnocentTalkRow():
            return [*row.turns, row.response]
        case OddRow():
            return [row.prompt, row.response, *row.harmful]
        case _:
            raise AssertionError(f"expected a known form, got {type(row).__name__}")


def hash_sentences(text: str) -> set[str]:
    """Hash a text and each of its sentences, those that are long enough."""
    pieces = [text, *(text[sentence.start : sentence.end] for sentence in split_sentences(text))]
    return {hash_text(piece) for piece in pieces if len(piece.split()) >= MIN_WORDS}


def find_strings(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        yield from (text for value in content.values() for text in find_strings(value))
    elif isinstance(content, list):
        yield from (text for value in content for text in find_strings(value))


def find_written_files() -> list[Path]:
    """Find what is written to be trained on, wherever it lies in the tree."""
    package = PROJECT / "protector_models"
    files = [
        *(package / "training").rglob("*"),
        *(file for room in package.rglob("written") for file in room.iterdir()),
    ]
    return sorted({file for file in files if file.suffix in {".jsonl", ".yaml", ".yml", ".txt", ".tsv", ".json"}})


def read_written(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".jsonl":
        yield from (found for line in text.splitlines() for found in find_strings(json.loads(line)))
    elif file.suffix in {".yaml", ".yml", ".json"}:
        yield from find_strings(yaml.safe_load(text))
    else:
        yield from (cell for line in text.splitlines() for cell in line.split("\t"))


@pytest.fixture(scope="module")
def owners() -> dict[str, str]:
    """Return the row of each text and sentence, by hash."""
    sets: list[BehaviourSet] = load_sets(half=None)
    return {
        text_hash: f"{found.kind}/{row.id}"
        for found in sets
        for row in found.rows
        for text in texts_of(row)
        for text_hash in hash_sentences(text)
    }


def test_no_sentence_is_among_the_rows_that_are_written_to_be_trained_on(owners: dict[str, str]) -> None:
    files = find_written_files()
    assert {"harmful.jsonl", "safe.jsonl"} <= {file.name for file in files}
    common = {
        f"{owners[text_hash]} in {file.relative_to(PROJECT)}"
        for file in files
        for text in read_written(file)
        for text_hash in hash_sentences(text) & owners.keys()
    }
    assert sorted(common) == []


@pytest.mark.training
@pytest.mark.timeout(900)
def test_no_text_is_among_the_training_data(owners: dict[str, str]) -> None:
    if not DATA.is_dir():
        pytest.skip(f"needs the training data at {DATA.parent.name}/{DATA.name} beside the project")
    common = {
        f"{owners[text_hash]} in {file.parent.name}"
        for file in find_record_files(DATA)
        for record in read_records(file)
        for text in (record.prompt, record.response, record.text, record.pair)
        if len(text.split()) >= MIN_WORDS and (text_hash := hash_text(text)) in owners
    }
    assert sorted(common) == []


def test_a_copied_sentence_is_found_whatever_its_case_and_marks(owners: dict[str, str]) -> None:
    copied = "Well. CHECK: the ring that slides up and down!"
    assert hash_sentences("Check the ring that slides up and down.") & hash_sentences(copied)
