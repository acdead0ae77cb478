from pathlib import Path

import pytest
import torch

from protector_models.checkpoints import CheckpointCard
from protector_models.harm_detector import OnnxHarmDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.verdict import Assessment
from protector_models.training.detector_network import DetectorNetwork
from protector_models.training.detector_recipe import DetectorRecipe
from protector_models.training.examples import Example
from protector_models.training.packaging import package_detector, select_scored
from protector_models.training.sources import RowKind
from tests.protector_models.training.builders import make_example

VALIDATION = [
    *(make_example(response=f"steal {index}") for index in range(6)),
    *(make_example(response=f"bake {index}", harmful=0.0, is_benign_set=True) for index in range(6)),
    make_example(kind=RowKind.TEXT),
    make_example(kind=RowKind.PREFERENCE),
    make_example(harmful=None, kind=RowKind.PROMPT),
]


def _package(encoder: Path, directory: Path, validation: list[Example]) -> CheckpointCard:
    torch.manual_seed(1)
    return package_detector(
        DetectorNetwork.from_pretrained(encoder).eval(),
        validation,
        encoder_directory=encoder,
        directory=directory,
        recipe=DetectorRecipe(seed=5),
        num_threads=1,
        report_rows=lambda _: None,
    )


def test_the_directory_serves_with_the_threshold_that_was_chosen(tiny_encoder: Path, tmp_path: Path) -> None:
    card = _package(tiny_encoder, tmp_path, VALIDATION)
    assert CheckpointCard.load(tmp_path) == card
    assert (card.validation["n"], card.validation["harmful"], card.recipe["seed"]) == (12, 6, 5)
    assert "not chosen" not in card.threshold_rule
    detector = OnnxHarmDetector.load(tmp_path, num_threads=1)
    assert detector.threshold == card.threshold
    assert isinstance(detector.assess([Exchange(prompt="", response="steal")])[0], Assessment)


def test_only_answers_with_a_label_choose_the_threshold() -> None:
    assert all(row.kind is RowKind.ANSWER and row.harmful is not None for row in select_scored(VALIDATION))


def test_a_slice_without_ordinary_answers_is_an_error(tiny_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ordinary sets"):
        _package(tiny_encoder, tmp_path, [row for row in VALIDATION if not row.is_benign_set])
