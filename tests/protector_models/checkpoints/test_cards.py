from pathlib import Path

import pytest
from pydantic import ValidationError

from protector_models.checkpoints.cards import CARD_FILE, CheckpointCard, CheckpointError, hash_file


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"weights")
    make_card(tmp_path).save(tmp_path)
    return tmp_path


def make_card(directory: Path, **fields: object) -> CheckpointCard:
    defaults: dict[str, object] = {
        "name": "weir-test",
        "layout": "pair",
        "files": {"model.onnx": hash_file(directory / "model.onnx")},
        "categories": ("hate",),
        "calibrations": ({"scale": 1.0, "bias": 0.0},) * 3,
        "bag_of_words_threshold": 0.5,
        "budget_thresholds": {"any": {"0.01": 0.9, "0.001": None}},
        "threshold": 0.5,
        "threshold_rule": "by hand",
        "recipe": {"seed": 1},
        "validation": {"auroc": None},
    }
    return CheckpointCard.model_validate({**defaults, **fields})


def test_a_card_loads_as_it_was_saved(directory: Path) -> None:
    assert CheckpointCard.load(directory) == make_card(directory)


def test_a_changed_file_is_refused(directory: Path) -> None:
    (directory / "model.onnx").write_bytes(b"other weights")
    with pytest.raises(CheckpointError, match=r"model\.onnx: SHA-256 is"):
        CheckpointCard.load(directory)


@pytest.mark.parametrize("name", [CARD_FILE, "model.onnx"])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        CheckpointCard.load(directory)


@pytest.mark.parametrize("content", ["", "{}", '{"name": "weir-test"}', "[]"])
def test_a_card_that_is_none_is_refused(directory: Path, content: str) -> None:
    (directory / CARD_FILE).write_text(content)
    with pytest.raises(CheckpointError, match="not a checkpoint card"):
        CheckpointCard.load(directory)


def test_the_revision_changes_with_files_layout_and_reading_and_with_nothing_else(directory: Path) -> None:
    card = make_card(directory)
    revision = card.make_revision("64 windows")
    assert revision.startswith("weir-test@")
    assert make_card(directory, threshold=0.9, recipe={"seed": 2}).make_revision("64 windows") == revision
    others = {
        card.make_revision("32 windows"),
        make_card(directory, layout="pair-2").make_revision("64 windows"),
        make_card(directory, files={"model.onnx": "0" * 64}).make_revision("64 windows"),
        make_card(directory, categories=("violence",)).make_revision("64 windows"),
        make_card(directory, calibrations=card.calibrations[1:]).make_revision("64 windows"),
    }
    assert len(others | {revision}) == 6


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_calibration_that_turns_scores_around_is_refused(directory: Path, scale: float) -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        make_card(directory, calibrations=({"scale": scale, "bias": 0.0},))
