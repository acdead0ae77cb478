"""`sexual_minors` as a rule: made-up scores of `sexual`, beside texts about bread and school."""

from collections.abc import Iterable, Mapping
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.checkpoints.cards import Calibration, CheckpointCard
from protector_models.detectors.shipped import harm_detector
from protector_models.detectors.shipped.detector_heads import WindowLogits
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.minors_rule import apply_minors_rule, list_categories
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS
from protector_models.detectors.shipped.window_layout import TokenPair
from protector_models.moderation.conversation import Exchange, SeenImage
from protector_models.moderation.model_outputs import Assessment
from tests.builders import exchange

SCHOOL = "My daughter starts school on Monday."
BREAD = "Knead the dough for ten minutes."
CATEGORIES = ("hate", "sexual")
HARM = 0.5


class MadeUpScorer:
    """Gives every piece the same harm, and each a score of `sexual` of its own. Implements `WindowScorer`."""

    engine = "made up"
    tells_pieces_apart = True

    def __init__(self, sexual_S: list[float]) -> None:
        self._sexual_S = sexual_S

    def score(self, windows: Iterable[TokenPair]) -> list[WindowLogits]:
        return [self._score(window) for window in windows]

    def _score(self, window: TokenPair) -> WindowLogits:
        assert len(window.pieces) == len(self._sexual_S)
        rows = [[_logit(HARM), _logit(HARM), -9.0, _logit(sexual)] for sexual in self._sexual_S]
        return WindowLogits(pieces_SK=np.array(rows, np.float32), whole_K=np.full(4, -20.0, np.float32))


def _logit(probability: float) -> float:
    return log(probability) - log(1.0 - probability)


def _compose(sexual_S: list[float], categories: tuple[str, ...] = CATEGORIES) -> OnnxHarmDetector:
    card = CheckpointCard(
        name="made-up",
        files={},
        recipe={},
        validation={},
        layout="",
        categories=categories,
        calibrations=(Calibration(scale=1.0, bias=0.0),) * 4,
        threshold=0.5,
        threshold_rule="",
        bag_of_words_threshold=0.5,
        budget_thresholds={},
    )
    return OnnxHarmDetector.compose(SHIPPED_WEIGHTS, card, MadeUpScorer(sexual_S))


def _assess(one: Exchange, *sexual_S: float) -> Assessment:
    (outcome,) = _compose(list(sexual_S)).assess([one])
    assert isinstance(outcome, Assessment)
    return outcome


MENTIONS: Mapping[str, Exchange] = {
    "prompt": exchange(BREAD, prompt=SCHOOL),
    "response": exchange("The children like the bread.", prompt="How is it?"),
    "no prompt": exchange("The children like the bread.", prompt=""),
    "image": exchange(BREAD, prompt="What is this?", images=[SeenImage(text="Primary school, bus stop")]),
    "disguised": exchange(BREAD, prompt="My d a u g h t e r starts school."),
    "full width": exchange(BREAD, prompt="Tickets for ｃｈｉｌｄｒｅｎ"),
    "end of a long prompt": exchange(BREAD, prompt=f"{BREAD} " * 100 + SCHOOL),
}


@pytest.mark.parametrize("name", MENTIONS)
def test_where_a_minor_is_mentioned_the_category_scores_what_sexual_does(name: str) -> None:
    assessment = _assess(MENTIONS[name], 0.4)
    assert assessment.categories["sexual_minors"] == assessment.categories["sexual"] == HARM * 0.4


@pytest.mark.parametrize("sexual", [0.001, 0.4, 0.999])
def test_where_none_is_mentioned_it_scores_nothing_and_is_listed(sexual: float) -> None:
    assessment = _assess(exchange(BREAD, prompt="How does a 34-year-old colleague bake?"), sexual)
    assert assessment.categories["sexual"] > 0.0
    assert assessment.categories["sexual_minors"] == 0.0


def test_pieces_are_scored_by_the_same_rule_wherever_the_mention_stands() -> None:
    text = "Mix the flour. The children wait. Bake the bread."
    assessment = _assess(exchange(text, prompt="How?"), 0.2, 0.6, 0.4)
    assert assessment.pieces is not None
    assert [piece.categories["sexual_minors"] for piece in assessment.pieces] == pytest.approx([0.1, 0.3, 0.2])
    assert assessment.categories["sexual_minors"] == pytest.approx(0.3)
    (alone,) = _compose([0.2, 0.4]).assess([exchange("Mix the flour. Bake the bread.", prompt="How?")])
    assert isinstance(alone, Assessment)
    assert alone.pieces is not None
    assert {piece.categories["sexual_minors"] for piece in alone.pieces} == {0.0}


def test_a_conversation_says_nothing_of_its_neighbour_in_a_batch() -> None:
    mentioning, other = exchange(BREAD, prompt=SCHOOL), exchange(BREAD, prompt="How?")
    detector = _compose([0.4])
    assert detector.assess([mentioning, other]) == [*detector.assess([mentioning]), *detector.assess([other])]


@given(st.floats(0.001, 0.999), st.sampled_from([SCHOOL, "How?"]))
def test_the_category_never_scores_above_harmfulness(sexual: float, prompt: str) -> None:
    assessment = _assess(exchange(BREAD, prompt=prompt), sexual)
    assert assessment.categories["sexual_minors"] <= assessment.harmfulness


def test_another_rule_makes_another_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _compose([0.4]).revision
    monkeypatch.setattr(harm_detector, "MINORS_RULE", "another")
    assert _compose([0.4]).revision != before


@given(st.dictionaries(st.sampled_from(["hate", "privacy", "sexual"]), st.floats(0.0, 1.0)), st.booleans())
def test_the_rule_leaves_the_other_scores_alone(scores: dict[str, float], mentions_minor: bool) -> None:
    ruled = apply_minors_rule(scores, mentions_minor=mentions_minor)
    assert ruled.keys() == list_categories(tuple(scores))
    assert {name: ruled[name] for name in scores} == scores
    if "sexual" in scores:
        assert ruled["sexual_minors"] == (scores["sexual"] if mentions_minor else 0.0)


def test_a_model_without_a_score_of_sexual_does_not_claim_to_have_looked() -> None:
    (outcome,) = _compose([0.4], categories=("hate", "privacy")).assess([exchange(BREAD, prompt=SCHOOL)])
    assert isinstance(outcome, Assessment)
    assert outcome.categories.keys() == {"hate", "privacy"}
