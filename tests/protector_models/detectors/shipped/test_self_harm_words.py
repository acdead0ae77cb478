"""`self_harm` where a harmful piece speaks of self-harm by its words: made-up scores, a fake scorer."""

from collections.abc import Iterable
from math import log

import numpy as np
import pytest

from protector_models.checkpoints.cards import Calibration, CheckpointCard
from protector_models.detectors.shipped.detector_heads import WindowLogits
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS
from protector_models.detectors.shipped.window_layout import TokenPair
from protector_models.moderation.model_outputs import Assessment
from protector_models.reading.self_harm_mentions import speaks_of_self_harm
from tests.builders import exchange

CATEGORY = 0.01


class HarmfulScorer:
    """Gives every piece some harm, and hardly any of it to the category. Implements `WindowScorer`."""

    engine = "made up"
    tells_pieces_apart = True

    def __init__(self, harm: float) -> None:
        self._harm = harm

    def score(self, windows: Iterable[TokenPair]) -> list[WindowLogits]:
        row = [_logit(self._harm), _logit(self._harm), _logit(CATEGORY)]
        return [
            WindowLogits(
                pieces_SK=np.array([row] * len(window.pieces), np.float32), whole_K=np.full(3, -20.0, np.float32)
            )
            for window in windows
        ]


def _logit(probability: float) -> float:
    return log(probability) - log(1.0 - probability)


def _assess(response: str, harm: float, category: str = "self_harm") -> Assessment:
    card = CheckpointCard(
        name="made-up",
        files={},
        recipe={},
        validation={},
        layout="",
        categories=(category,),
        calibrations=(Calibration(scale=1.0, bias=0.0),) * 3,
        threshold=0.5,
        threshold_rule="",
        bag_of_words_threshold=0.5,
        budget_thresholds={},
    )
    (outcome,) = OnnxHarmDetector.compose(SHIPPED_WEIGHTS, card, HarmfulScorer(harm)).assess([exchange(response)])
    assert isinstance(outcome, Assessment)
    return outcome


@pytest.mark.parametrize("harm", [0.2, 0.9])
def test_a_piece_that_speaks_of_it_scores_all_its_harm_and_its_neighbours_do_not(harm: float) -> None:
    assessment = _assess("The book is about suicide. The bread is ready.", harm)
    assert assessment.categories["self_harm"] == assessment.harmfulness == pytest.approx(harm)
    assert assessment.pieces is not None
    speaking, other = assessment.pieces
    assert speaking.categories["self_harm"] == speaking.harmfulness
    assert other.categories["self_harm"] == pytest.approx(harm * CATEGORY, abs=1e-4)


@pytest.mark.parametrize(
    "response", ["The book is about s u i c i d e.", "The book is about ｓｕｉｃｉｄｅ.", "about sui\u200bcide"]
)
def test_disguised_words_are_read_as_what_they_stand_for(response: str) -> None:
    assert _assess(response, 0.9).categories["self_harm"] == pytest.approx(0.9)


def test_words_make_no_harm() -> None:
    assert _assess("A line for suicide prevention.", 0.001).harmfulness == pytest.approx(0.001)


def test_a_model_without_the_category_gets_none() -> None:
    assert _assess("The book is about suicide.", 0.9, category="hate").categories.keys() == {"hate"}


@pytest.mark.parametrize("text", ["Suicide prevention", "SELF-HARM", "He wanted to kill himself.", "starving yourself"])
def test_texts_that_speak_of_it(text: str) -> None:
    assert speaks_of_self_harm(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Kill the process.",
        "Cut the bread yourself.",
        "The end of a life at sea",
        "Suicide Squad is a film about criminals on a suicide mission.",
        "The old car has suicide doors.",
        "A suicide bomber in a crowd",
        "That would be career suicide, and political suicide.",
        "Kamikaze pilots flew suicide attacks.",
        "The suicide king is the king of hearts.",
    ],
)
def test_texts_that_do_not(text: str) -> None:
    assert not speaks_of_self_harm(text)
