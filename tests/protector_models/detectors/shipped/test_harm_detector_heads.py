"""How the detector makes one assessment of the logits of pieces and wholes, in several windows."""

from collections.abc import Sequence
from math import exp, inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.checkpoints.cards import Calibration
from protector_models.detectors.shipped.detector_heads import WindowLogits
from protector_models.detectors.shipped.window_aggregation import join_windows
from protector_models.detectors.shipped.window_layout import Bounds, TokenPair
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import MAX_SCORED_PIECES, Assessment, ItemFailure
from tests.protector_models.detectors.shipped.ruled_scorer import (
    APPLE,
    AS_IT_IS,
    CARD,
    NUM_LOGITS,
    Rule,
    compose,
    holds,
    nothing_more,
)


def _assess(
    pieces: Rule, exchange: Exchange, *, whole: Rule = nothing_more, calibration: Calibration = AS_IT_IS
) -> Assessment:
    (outcome,) = compose(pieces, whole, calibration=calibration).assess([exchange])
    assert isinstance(outcome, Assessment)
    return outcome


def _sigmoid(logit: float) -> float:
    return 1 / (1 + exp(-logit))


def _apples_are_harmful(window: TokenPair, piece: Bounds) -> tuple[float, ...]:
    return (3.0 if holds(window, piece, APPLE) else -3.0,)


@pytest.mark.parametrize(("prompt", "logit"), [("why?", 2.0), ("", -1.0), ("  \n", -1.0)])
def test_a_text_without_a_prompt_has_a_head_of_its_own(prompt: str, logit: float) -> None:
    assessment = _assess(lambda *_: (2.0, -1.0), Exchange(prompt=prompt, response="bread"))
    assert assessment.harmfulness == pytest.approx(_sigmoid(logit), abs=1e-4)


def test_a_response_is_as_harmful_as_its_worst_piece_and_names_it() -> None:
    response = "Some bread here. " * 300 + "An apple there. " + "More bread. " * 300
    assessment = _assess(_apples_are_harmful, Exchange(prompt="why", response=response))
    assert assessment.harmfulness == pytest.approx(_sigmoid(3.0), abs=1e-4)
    assert assessment.pieces is not None
    (piece,) = assessment.pieces
    assert response[piece.start : piece.end] == "An apple there."
    assert piece.harmfulness == assessment.harmfulness


def test_what_only_the_whole_shows_lifts_the_worst_piece_half_the_way() -> None:
    exchange = Exchange(prompt="why", response="Some bread. An apple.")
    lifted = _assess(_apples_are_harmful, exchange, whole=lambda *_: (5.0,))
    assert lifted.harmfulness == pytest.approx(_sigmoid(4.0), abs=1e-4)
    for whole in (-5.0, 3.0):
        as_it_is = _assess(_apples_are_harmful, exchange, whole=lambda *_, whole=whole: (whole,))
        assert as_it_is.harmfulness == pytest.approx(_sigmoid(3.0), abs=1e-4)


def _window(pieces: Sequence[float], whole: float) -> WindowLogits:
    """Make the logits of a window whose two heads of harm say the same."""
    return WindowLogits(
        pieces_SK=np.array([[logit, logit] for logit in pieces], dtype=np.float32),
        whole_K=np.array([whole, whole], dtype=np.float32),
    )


def test_a_whole_lifts_the_worst_piece_of_its_own_window_only() -> None:
    joined_SK = join_windows([_window([-2.0, -3.0], 4.0), _window([-2.0, -3.0], -9.0)], [0, 1])
    assert joined_SK[:, 0].tolist() == joined_SK[:, 1].tolist() == [1.0, -3.0, -2.0, -3.0]


LOGITS = st.floats(-20.0, 20.0, width=16)


@given(st.lists(LOGITS, min_size=1, max_size=5), st.lists(LOGITS, max_size=5), LOGITS)
def test_pieces_that_are_added_to_a_window_never_lower_the_highest(
    pieces: list[float], added: list[float], whole: float
) -> None:
    alone, together = (join_windows([_window(found, whole)], [0])[:, 0] for found in (pieces, [*pieces, *added]))
    assert together.max() >= alone.max() >= max(pieces)


def test_the_chunks_of_a_long_prompt_are_averaged_and_not_so_many_chances() -> None:
    prompt = "apple " + "bread " * 150
    seen: list[bool] = []

    def rule(window: TokenPair, _: Bounds) -> tuple[float, ...]:
        seen.append(APPLE in window.input_ids)
        return (4.0 if seen[-1] else -2.0,)

    assessment = _assess(rule, Exchange(prompt=prompt, response="hello"))
    assert sum(seen) == 1
    assert len(seen) > 2
    mean = (4.0 - 2.0 * (len(seen) - 1)) / len(seen)
    assert assessment.harmfulness == pytest.approx(_sigmoid(mean), abs=1e-4)


def test_the_card_says_how_logits_become_probabilities() -> None:
    calibration = Calibration(scale=0.5, bias=-3.0)
    assessment = _assess(lambda *_: (2.0,), Exchange(prompt="why", response="bread"), calibration=calibration)
    assert assessment.harmfulness == pytest.approx(_sigmoid(-2.0), abs=1e-4)


def test_a_category_never_scores_above_its_piece() -> None:
    assessment = _assess(lambda *_: (-2.0, 0.0, *([50.0] * NUM_LOGITS)), Exchange(prompt="why", response="bread"))
    assert {assessment.categories[name] for name in CARD.categories} == {assessment.harmfulness}


def test_a_category_of_a_harmless_piece_does_not_count_for_a_harmful_one() -> None:
    def rule(window: TokenPair, piece: Bounds) -> tuple[float, ...]:
        # Harmless, and its first category for sure; or harmful, and surely not of that one.
        return (3.0, 0.0, -50.0) if holds(window, piece, APPLE) else (-3.0, 0.0, 50.0)

    assessment = _assess(rule, Exchange(prompt="why", response="Some bread. An apple."))
    first = assessment.categories[CARD.categories[0]]
    assert first == pytest.approx(_sigmoid(-3.0), abs=1e-4)


def test_of_many_harmful_pieces_the_worst_are_named_in_their_order() -> None:
    response = " ".join(f"Number {number} apple." for number in range(40))
    places = iter(range(1_000))
    assessment = _assess(lambda *_: (0.1 * next(places),), Exchange(prompt="why", response=response))
    assert assessment.pieces is not None
    named = [response[piece.start : piece.end] for piece in assessment.pieces]
    assert named == [f"Number {number} apple." for number in range(40 - MAX_SCORED_PIECES, 40)]


def test_a_harmless_response_names_its_worst_piece_alone() -> None:
    assessment = _assess(lambda *_: (-6.0,), Exchange(prompt="why", response="Some bread. An apple. More."))
    assert assessment.pieces is not None
    assert [(piece.start, piece.end) for piece in assessment.pieces] == [(0, 11)]


@pytest.mark.parametrize("response", ["", " \n", "\u200b"])
def test_a_response_without_tokens_has_a_score_and_no_pieces(response: str) -> None:
    assessment = _assess(lambda *_: (2.0,), Exchange(prompt="why", response=response))
    assert assessment.harmfulness == pytest.approx(_sigmoid(2.0), abs=1e-4)
    assert assessment.pieces == ()


def test_a_window_without_tokens_takes_no_place_among_the_pieces() -> None:
    # So long that slices are read; the one in the middle is of white space.
    response = "Some bread. " * 400 + " " * 40_000 + "An apple. " + "Some bread. " * 400
    detector = compose(_apples_are_harmful, max_windows=3)
    tail = "Some bread. " * 3 + "An apple."
    for text in (response, response + tail):
        (assessment,) = detector.assess([Exchange(prompt="why", response=text)])
        assert isinstance(assessment, Assessment)
        assert assessment.pieces
        named = [text[piece.start : piece.end] for piece in assessment.pieces]
        assert all("bread" in piece or "apple" in piece for piece in named)
    assert named == ["An apple."]


def test_a_score_that_is_no_number_is_a_failure_of_that_item_only() -> None:
    detector = compose(lambda window, piece: (0.0, nan if holds(window, piece, APPLE) else 0.0))
    fine, failed = detector.assess([Exchange(prompt="", response="bread"), Exchange(prompt="", response="apple")])
    assert isinstance(fine, Assessment)
    assert failed == ItemFailure(error="NotFiniteScore", message="the model's output was not a finite number")


def test_an_infinite_logit_is_a_failure_too() -> None:
    (failed,) = compose(lambda *_: (inf,)).assess([Exchange(prompt="", response="bread")])
    assert isinstance(failed, ItemFailure)


def test_logits_far_from_zero_give_numbers() -> None:
    for logit in (-1000.0, 1000.0):
        scores = _assess(lambda *_, logit=logit: (logit,) * NUM_LOGITS, Exchange(prompt="why", response="bread"))
        assert scores.harmfulness == float(logit > 0)
        assert {scores.categories[name] for name in CARD.categories} == {float(logit > 0)}
