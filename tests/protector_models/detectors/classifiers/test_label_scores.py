"""Tests of `label_scores`: from logits to harmfulness and categories."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.descriptions.checkpoint_description import ClassificationHead
from protector_models.detectors.classifiers.label_scores import LabelScores
from protector_models.moderation.errors import ConfigurationError

LABELS = ("fine", "rude", "cruel")
Logits = st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3)


def make(labels: tuple[str, ...] = LABELS, **fields: Any) -> LabelScores:
    return LabelScores(ClassificationHead(**{"kind": "classification", "activation": "softmax", **fields}), labels)


def read(scores: LabelScores, *logits: float) -> tuple[float, dict[str, float]]:
    harmfulness_B, categories = scores.read(np.array([logits]))
    return float(harmfulness_B[0]), {name: float(values_B[0]) for name, values_B in categories.items()}


@given(logits=Logits)
def test_under_softmax_harmful_and_harmless_labels_make_up_the_whole(logits: list[float]) -> None:
    harmful, _ = read(make(scored_labels=["rude", "cruel"]), *logits)
    inverted, _ = read(make(scored_labels=["fine"], polarity="harmless"), *logits)
    assert 0.0 <= harmful <= 1.0
    assert harmful == pytest.approx(inverted, abs=1e-9)


@given(logits=Logits, activation=st.sampled_from(["softmax", "sigmoid"]))
def test_no_category_is_surer_than_harm(logits: list[float], activation: str) -> None:
    categories = {"fine": "sexual", "rude": "harassment", "cruel": "violence"}
    scores = make(activation=activation, scored_labels=["rude"], categories=categories)
    harmfulness, found = read(scores, *logits)
    assert set(found) == {"sexual", "harassment", "violence"}
    assert all(0.0 <= score <= harmfulness for score in found.values())


def test_labels_that_do_not_exclude_each_other_are_scored_by_the_highest() -> None:
    scores = make(activation="sigmoid", scored_labels=["rude", "cruel"], categories={"rude": "hate", "cruel": "hate"})
    harmfulness, categories = read(scores, 5.0, 0.0, math.log(3.0))
    assert harmfulness == pytest.approx(0.75)
    assert categories == {"hate": pytest.approx(0.75)}


@pytest.mark.parametrize(("polarity", "expected"), [("harmful", 0.9), ("harmless", 0.1)])
def test_one_logit_is_inverted_where_the_description_says_so(polarity: str, expected: float) -> None:
    scores = make(("LABEL_0",), activation="sigmoid", polarity=polarity)
    assert read(scores, math.log(9.0))[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "fields", "message"),
    [
        (LABELS, {"scored_labels": ["vile"]}, "labels vile: expected some of the model's: fine, rude, cruel"),
        (LABELS, {"scored_labels": ["rude"], "categories": {"vile": "hate"}}, "labels vile"),
        (LABELS, {"activation": "sigmoid"}, "expected a model of one logit"),
        (("LABEL_0",), {"scored_labels": ["LABEL_0"]}, "expected a model of two labels or more"),
    ],
)
def test_a_model_that_does_not_fit_its_description_is_refused(
    labels: tuple[str, ...], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(labels, **fields)
