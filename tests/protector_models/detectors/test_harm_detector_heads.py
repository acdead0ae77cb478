"""How the detector makes one assessment of the logits of its two models and of several windows."""

from collections.abc import Callable, Iterable, Sequence
from math import exp, nan

import numpy as np
import pytest

from protector_models.checkpoints import CheckpointCard, LogitMix
from protector_models.detectors.harm_detector import SHIPPED_WEIGHTS, OnnxHarmDetector
from protector_models.detectors.prompts import TokenPair
from protector_models.detectors.window_scorer import Logits
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.verdict import Assessment, ItemFailure

CARD = CheckpointCard.load(SHIPPED_WEIGHTS)
NUM_LOGITS = len(CARD.mixes)
ENCODER_ALONE = LogitMix(encoder=1.0, bag_of_words=0.0, bias=0.0)
APPLE, BREAD = 6207, 7852
"""Token ids of the two words, as the shipped vocabulary has them."""


class RuledScorer:
    """An encoder whose logits are a rule on the window. Implements `WindowScorer`."""

    engine = "rule"

    def __init__(self, rule: Callable[[TokenPair], Sequence[float]]) -> None:
        self._rule = rule

    def score(self, windows: Iterable[TokenPair]) -> list[Logits]:
        logits = [[*self._rule(window), *([0.0] * NUM_LOGITS)][:NUM_LOGITS] for window in windows]
        return [np.array(row, dtype=np.float32) for row in logits]


def _compose(rule: Callable[[TokenPair], Sequence[float]], mix: LogitMix = ENCODER_ALONE) -> OnnxHarmDetector:
    card = CARD.model_copy(update={"mixes": (mix,) * NUM_LOGITS})
    return OnnxHarmDetector.compose(SHIPPED_WEIGHTS, card, RuledScorer(rule))


def _assess(
    rule: Callable[[TokenPair], Sequence[float]], exchange: Exchange, mix: LogitMix = ENCODER_ALONE
) -> Assessment:
    (outcome,) = _compose(rule, mix).assess([exchange])
    assert isinstance(outcome, Assessment)
    return outcome


def _sigmoid(logit: float) -> float:
    return 1 / (1 + exp(-logit))


@pytest.mark.parametrize(("prompt", "logit"), [("why?", 2.0), ("", -1.0), ("  \n", -1.0)])
def test_a_text_without_a_prompt_has_a_head_of_its_own(prompt: str, logit: float) -> None:
    assessment = _assess(lambda _: (2.0, -1.0), Exchange(prompt=prompt, response="bread"))
    assert assessment.harmfulness == pytest.approx(_sigmoid(logit), abs=1e-4)


def test_the_worst_window_of_a_response_counts_three_quarters_and_their_mean_one() -> None:
    seen: list[bool] = []

    def rule(window: TokenPair) -> Sequence[float]:
        seen.append(APPLE in window.input_ids)
        return (3.0 if seen[-1] else -3.0,)

    assessment = _assess(rule, Exchange(prompt="why", response="bread " * 700 + "apple"))
    assert sum(seen) == 1
    mean = (3.0 - 3.0 * (len(seen) - 1)) / len(seen)
    assert assessment.harmfulness == pytest.approx(_sigmoid(0.75 * 3.0 + 0.25 * mean), abs=1e-4)


def test_the_chunks_of_a_long_prompt_are_averaged_and_not_so_many_chances() -> None:
    prompt = "apple " + "bread " * 150
    seen: list[bool] = []

    def rule(window: TokenPair) -> Sequence[float]:
        seen.append(APPLE in window.input_ids)
        return (4.0 if seen[-1] else -2.0,)

    assessment = _assess(rule, Exchange(prompt=prompt, response="hello"))
    assert sum(seen) == 1
    assert len(seen) > 2
    mean = (4.0 - 2.0 * (len(seen) - 1)) / len(seen)
    assert assessment.harmfulness == pytest.approx(_sigmoid(mean), abs=1e-4)


def test_the_card_says_what_each_model_weighs() -> None:
    exchange = Exchange(prompt="why", response="bread")
    biased = _assess(lambda _: (2.0,), exchange, LogitMix(encoder=0.5, bag_of_words=0.0, bias=-3.0))
    assert biased.harmfulness == pytest.approx(_sigmoid(-2.0), abs=1e-4)
    harmful = Exchange(prompt="How do I get money?", response="First steal the victim's card, then burn the evidence.")
    words_alone = LogitMix(encoder=0.0, bag_of_words=1.0, bias=0.0)
    scores = [_assess(lambda _: (9.0,), each, words_alone).harmfulness for each in (harmful, exchange)]
    assert scores[0] > scores[1]


def test_a_category_never_scores_above_the_whole() -> None:
    assessment = _assess(lambda _: (-2.0, 0.0, *([50.0] * NUM_LOGITS)), Exchange(prompt="why", response="bread"))
    assert set(assessment.categories.values()) == {assessment.harmfulness}


def test_a_score_that_is_no_number_is_a_failure_of_that_item_only() -> None:
    detector = _compose(lambda window: (0.0, nan if APPLE in window.input_ids else 0.0))
    fine, failed = detector.assess([Exchange(prompt="", response="bread"), Exchange(prompt="", response="apple")])
    assert isinstance(fine, Assessment)
    assert failed == ItemFailure(error="NotFiniteScore", message="the model's output was not a finite number")


def test_logits_far_from_zero_give_numbers() -> None:
    for logit in (-1000.0, 1000.0):
        scores = _assess(lambda _, logit=logit: (logit,) * NUM_LOGITS, Exchange(prompt="why", response="bread"))  # type: ignore[misc]  # bound
        assert scores.harmfulness == float(logit > 0)
        assert set(scores.categories.values()) == {float(logit > 0)}
