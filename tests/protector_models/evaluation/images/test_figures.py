"""Figures of the image reader."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.evaluation.images.figures import (
    character_accuracy,
    compose_inputs,
    measure_input_check,
    measure_reading,
    time_readings,
)
from protector_models.evaluation.images.rows import read_image_rows
from protector_models.moderation.images import ImageFault, ImageReading
from protector_models.moderation.model_outputs import Assessment, Coverage, ItemFailure
from protector_models.records.labelled_records import RecordError


class EchoReader:
    """Reads of an image what its bytes say; cannot read what begins with an exclamation mark."""

    revision = "echo@1"

    def __init__(self) -> None:
        self.num_read = 0

    def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        self.num_read += len(contents)
        return [self._read(content) for content in contents]

    def _read(self, content: bytes) -> ImageReading | ItemFailure:
        if content.startswith(b"!"):
            return ItemFailure(error=ImageFault.CORRUPT_IMAGE, message="damaged")
        return ImageReading(
            sha256="0" * 64, perceptual_hash="0" * 16, width=1, height=1, text=content.decode(), reader=self.revision
        )


def assess(harmfulness: float) -> Assessment:
    coverage = Coverage(characters_evaluated=1, characters_total=1, images_evaluated=0, images_total=0)
    return Assessment(harmfulness=harmfulness, categories={}, detector="d@1", truncated=False, coverage=coverage)


def write_records(directory: Path, pictures: dict[str, tuple[bytes, str]]) -> Path:
    rows = [
        {"id": name, "prompt": "Fill the list.", "text": text, "image": name, "label": 1}
        for name, (_, text) in pictures.items()
    ]
    rows.append({"id": "question", "prompt": "How?", "label": 1})
    directory.mkdir()
    for name, (content, _) in pictures.items():
        (directory / name).write_bytes(content)
    blank = {"source": "s", "response": None, "text": None, "image": None, "category": None, "pair": None}
    with gzip.open(directory / "rows.jsonl.gz", "wt") as lines:
        lines.writelines(json.dumps(blank | row) + "\n" for row in rows)
    return directory


def test_identical_images_are_read_once_and_unread_ones_count_nothing(tmp_path: Path) -> None:
    data = write_records(
        tmp_path / "data",
        {"a": (b"Bake it\n1.\n2.", "bake  it"), "b": (b"Bake it\n1.\n2.", "bake it"), "c": (b"!", "x")},
    )
    rows = read_image_rows(data, data, max_images=None)
    reader = EchoReader()
    done: list[None] = []

    readings = time_readings(
        reader, [row.content for row in rows.images], num_threads=2, report_image=lambda: done.append(None)
    )
    figures = measure_reading(rows.images, readings)

    assert (reader.num_read, len(done), figures.num_images, figures.num_distinct, figures.num_readings) == (
        2,
        2,
        3,
        2,
        2,
    )
    assert figures.unread == {"CorruptImage": 1}
    assert figures.character_accuracy.value == pytest.approx(2 / 3, abs=1e-4)


def test_what_is_judged_is_the_prompt_with_what_was_read_below_it(tmp_path: Path) -> None:
    data = write_records(tmp_path / "data", {"a": (b"Bake it", "Bake it!"), "c": (b"!", "x")})
    rows = read_image_rows(data, data, max_images=None)
    readings = time_readings(
        EchoReader(), [row.content for row in rows.images], num_threads=1, report_image=lambda: None
    )

    inputs = compose_inputs(rows, readings)

    assert {name: [exchange.response for exchange in exchanges] for name, exchanges in inputs.items()} == {
        "benign": ["Fill the list.", "How?"],
        "prompt alone": ["Fill the list."] * 2,
        "prompt and text read": ["Fill the list.\nBake it", "Fill the list."],
        "prompt and known text": ["Fill the list.\nBake it!", "Fill the list.\nx"],
        "text read alone": ["Bake it", ""],
        "known text alone": ["Bake it!", "x"],
        "plain question": ["How?"],
    }
    assert {exchange.prompt for exchanges in inputs.values() for exchange in exchanges} == {""}


def test_recall_is_that_of_the_threshold_that_flags_one_in_a_hundred() -> None:
    benign = [assess(score / 1000) for score in range(200)]
    unscored = ItemFailure(error="NotFiniteScore", message="no number")
    attacks: list[Assessment | ItemFailure] = [assess(0.1971), assess(0.1981), assess(0.9), unscored]

    figures = measure_input_check({"benign": benign, "attacks": attacks})

    assert figures.threshold == 0.197
    assert figures.recall["attacks"].value == 0.75
    assert figures.num_without_score == 1
    # Hangs on the highest of 200 rows: as wide as they are apart there.
    low, high = figures.threshold_interval
    assert 0.19 < low < figures.threshold < high <= 0.199


def test_where_no_attack_is_flagged_the_recall_still_has_an_interval() -> None:
    benign = [assess(score / 1000) for score in range(200)]
    figures = measure_input_check({"benign": benign, "attacks": [assess(0.0)] * 5})
    assert figures.recall["attacks"].value == 0.0
    # Wilson's for 0 of 5.
    assert list(figures.recall["attacks"].interval or ()) == pytest.approx([0.0, 0.4345], abs=1e-3)


@given(st.text(), st.text(min_size=1))
def test_accuracy_is_a_share_and_whole_for_the_same_text(read: str, known: str) -> None:
    assert 0.0 <= character_accuracy(read, known) <= 1.0


@pytest.mark.parametrize(
    ("read", "known", "accuracy"),
    [
        ("BAKE\nit\n1.\n2.\n3.", "Bake it", 1.0),
        ("Bke it", "Bake it", 6 / 7),
        ("", "Bake it", 0.0),
        ("2 eggs", "2 eggs", 1.0),
    ],
)
def test_accuracy_counts_edits(read: str, known: str, accuracy: float) -> None:
    assert character_accuracy(read, known) == pytest.approx(accuracy)


def test_a_picture_that_is_not_there_is_named(tmp_path: Path) -> None:
    data = write_records(tmp_path / "data", {"a": (b"x", "x")})
    (data / "a").unlink()
    with pytest.raises(RecordError, match=r"rows\.jsonl\.gz: .*a: cannot be used: FileNotFoundError"):
        read_image_rows(data, data, max_images=None)
