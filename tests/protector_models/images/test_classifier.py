"""Image classifiers of transformers, with random weights: the same scores as plain transformers code gives."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)

from protector_models.images.classifier import ImageClassifier
from protector_models.images.settings import ImageClassifierSettings
from protector_models.moderation.errors import ConfigurationError
from tests.protector_models.pictures import noise

pytestmark = pytest.mark.training

LABELS = {"porn": "sexual", "hentai": "sexual", "gore": "violence"}
# What is rounded to 4 decimals differs by half of the last one at most.
TOLERANCE = 5.1e-5


ProblemType = Literal["single_label_classification", "multi_label_classification"]


def _in_time() -> None:
    """Nothing takes too long."""


def write_classifier(directory: Path, *, problem_type: ProblemType = "single_label_classification") -> Path:
    """Writes a ViT of a few thousand weights."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(["porn", "neutral", "hentai", "gore"])),
        label2id={"porn": 0, "neutral": 1, "hentai": 2, "gore": 3},
        problem_type=problem_type,
        # Larger than usual, so that scores are far from each other.
        initializer_range=0.5,
    )
    ViTForImageClassification(config).save_pretrained(directory)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(directory)
    return directory


def score_plainly(directory: Path, picture: Image.Image, *, is_multi_label: bool) -> Mapping[str, float]:
    """Returns each label's score by transformers alone."""
    model = AutoModelForImageClassification.from_pretrained(directory).eval()
    processor = AutoImageProcessor.from_pretrained(directory)  # type: ignore[no-untyped-call]  # transformers' own
    inputs = processor(images=[picture], return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    scores = (logits.sigmoid() if is_multi_label else logits.softmax(0)).tolist()
    return {model.config.id2label[number]: score for number, score in enumerate(scores)}


def load(directory: Path, labels: Mapping[str, str] = LABELS) -> ImageClassifier:
    return ImageClassifier.load(ImageClassifierSettings(model=str(directory), labels=labels))


def test_alternatives_are_added_up_as_plain_transformers_scores_them(tmp_path: Path) -> None:
    picture = noise((50, 40))
    plain = score_plainly(write_classifier(tmp_path), picture, is_multi_label=False)

    scores = load(tmp_path).score([np.asarray(picture)], check_time=_in_time)

    assert scores == pytest.approx(
        {"sexual": plain["porn"] + plain["hentai"], "violence": plain["gore"]}, abs=TOLERANCE
    )


def test_of_independent_labels_the_highest_counts(tmp_path: Path) -> None:
    picture = noise((50, 40))
    directory = write_classifier(tmp_path, problem_type="multi_label_classification")
    plain = score_plainly(directory, picture, is_multi_label=True)

    scores = load(tmp_path).score([np.asarray(picture)], check_time=_in_time)

    assert scores == pytest.approx(
        {"sexual": max(plain["porn"], plain["hentai"]), "violence": plain["gore"]}, abs=TOLERANCE
    )


def test_the_highest_score_of_any_view_counts_and_views_do_not_touch_each_other(tmp_path: Path) -> None:
    classifier = load(write_classifier(tmp_path))
    views = [np.asarray(noise(size, seed)) for seed, size in enumerate([(50, 40), (32, 32), (9, 200)])]
    singles = [classifier.score([view], check_time=_in_time) for view in views]

    together = classifier.score(views, check_time=_in_time)
    assert together == {category: max(single[category] for single in singles) for category in singles[0]}


def test_a_label_that_the_model_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"labels: nude: expected labels of the model: gore, hentai"):
        load(write_classifier(tmp_path), {"nude": "sexual"})


def test_other_weights_and_other_labels_have_other_revisions(tmp_path: Path) -> None:
    directory = write_classifier(tmp_path / "one")

    assert load(directory).revision == load(directory).revision
    assert load(directory).revision != load(directory, {"gore": "violence"}).revision


def test_a_classifier_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigurationError, match=r"images\.classifier\.model.*safetensors"):
        load(tmp_path)


def test_a_classifier_whose_head_nobody_trained_is_refused(tmp_path: Path) -> None:
    directory = write_classifier(tmp_path)
    ViTModel.from_pretrained(directory).save_pretrained(directory)

    with pytest.raises(ConfigurationError, match=r"images\.classifier\.model.*lack.*classifier\.weight"):
        load(directory)


def test_a_classifier_with_another_number_of_labels_than_its_weights_is_refused(tmp_path: Path) -> None:
    directory = write_classifier(tmp_path)
    config = json.loads((directory / "config.json").read_text())
    config["id2label"] = {**config["id2label"], "4": "drawing"}
    config["label2id"] = {**config["label2id"], "drawing": 4}
    (directory / "config.json").write_text(json.dumps(config))

    with pytest.raises(ConfigurationError, match=r"images\.classifier\.model"):
        load(directory)
