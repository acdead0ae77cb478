"""Two engines over the same windows: what is sent on, and how logits are joined."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.checkpoints.cards import Calibration
from protector_models.detectors.shipped.detector_heads import WindowLogits
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.pair_scorer import CalibratedScorer, PairScorer
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS
from protector_models.detectors.shipped.window_layout import PairLayout, TokenPair
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment
from tests.protector_models.detectors.shipped.ruled_scorer import (
    APPLE,
    AS_IT_IS,
    CARD,
    NUM_LOGITS,
    Rule,
    RuledScorer,
    holds,
)

LAYOUT = PairLayout(start_id=101, separator_id=102)
LOW, HIGH = 0.2, 0.9


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


class WatchedScorer(RuledScorer):
    """Remembers the windows that it was given."""

    def __init__(self, pieces: Rule) -> None:
        super().__init__(pieces)
        self.calls: list[list[TokenPair]] = []

    def score(self, windows: Iterable[TokenPair]) -> list[WindowLogits]:
        self.calls.append(list(windows))
        return super().score(self.calls[-1])


def _window(first_token: int, *, prompt: Sequence[int] = (7,), num_pieces: int = 1) -> TokenPair:
    tokens = [first_token, *range(2000, 2000 + num_pieces)]
    bounds = [(place, place + 1) for place in range(num_pieces - 1)] + [(num_pieces - 1, len(tokens))]
    return LAYOUT.join(prompt, tokens, bounds)


def _by_first_token(logits: dict[int, float]) -> Rule:
    """The harm of every piece, by the first token of the window's response."""
    return lambda window, _: [logits[window.input_ids[window.response[0]]]] * 2


def _pair(
    fast: RuledScorer,
    accurate: RuledScorer,
    *,
    calibrations: Sequence[Calibration] = (AS_IT_IS,) * 2,
    share: float = 0.5,
) -> PairScorer:
    first, second = (
        CalibratedScorer(scorer=scorer, calibrations=(calibration,) * NUM_LOGITS)
        for scorer, calibration in zip((fast, accurate), calibrations, strict=True)
    )
    return PairScorer(first, second, band=(LOW, HIGH), accurate_share=share)


@given(st.lists(st.floats(-8.0, 8.0), min_size=1, max_size=12), st.sampled_from([0.25, 0.5, 1.0]))
def test_a_window_is_sent_on_by_its_own_score_alone_and_scores_are_joined_there(
    logits: list[float], share: float
) -> None:
    by_token = {1000 + place: logit for place, logit in enumerate(logits)}
    fast = WatchedScorer(_by_first_token(by_token))
    accurate = WatchedScorer(_by_first_token(dict.fromkeys(by_token, 3.0)))
    windows = [_window(token) for token in by_token]
    pair = _pair(fast, accurate, share=share)
    found = pair.score(iter(windows))
    in_doubt = [1.0 / (1.0 + math.exp(-np.float32(logit))) for logit in logits]
    sent = [window for window, harm in zip(windows, in_doubt, strict=True) if LOW <= harm <= HIGH]
    assert fast.calls == [windows]
    assert accurate.calls == ([sent] if sent else [])
    for window, logit, one in zip(windows, logits, found, strict=True):
        expected = (1.0 - share) * logit + share * 3.0 if window in sent else logit
        assert one.pieces_SK[0, 0] == pytest.approx(expected, abs=1e-4)
        (alone,) = _pair(fast, accurate, share=share).score([window])
        np.testing.assert_array_equal(alone.pieces_SK, one.pieces_SK)


def test_the_ends_of_the_band_and_what_is_no_number_are_in_doubt() -> None:
    pair = _pair(RuledScorer(_by_first_token({})), RuledScorer(_by_first_token({})))

    def is_in_doubt(logit: float) -> bool:
        pieces = np.full((1, NUM_LOGITS), logit, dtype=np.float32)
        return pair.is_in_doubt(WindowLogits(pieces_SK=pieces, whole_K=pieces[0]), has_prompt=True)

    assert is_in_doubt(_logit(LOW) + 1e-5)
    assert not is_in_doubt(_logit(LOW) - 1e-3)
    assert is_in_doubt(_logit(HIGH) - 1e-5)
    assert not is_in_doubt(_logit(HIGH) + 1e-3)
    assert is_in_doubt(math.nan)


def test_each_engine_has_its_own_calibration() -> None:
    fast, accurate = (RuledScorer(_by_first_token({1000: logit})) for logit in (4.0, -1.0))
    pair = _pair(fast, accurate, calibrations=(Calibration(scale=0.5, bias=-1.5), Calibration(scale=2.0, bias=0.25)))
    (found,) = pair.score([_window(1000)])
    assert found.pieces_SK[0, 0] == pytest.approx(0.5 * (0.5 * 4.0 - 1.5) + 0.5 * (2.0 * -1.0 + 0.25))


def test_a_text_alone_is_in_doubt_by_the_head_for_texts_alone() -> None:
    rule: Rule = lambda window, _: [-9.0, 0.0]  # noqa: E731  # answer: safe; alone: in doubt
    accurate = WatchedScorer(rule)
    windows = [_window(1000), _window(1000, prompt=())]
    _pair(RuledScorer(rule), accurate).score(windows)
    assert accurate.calls == [windows[1:]]


def test_of_a_long_answer_the_passage_in_doubt_alone_is_read_twice() -> None:
    doubt: Rule = lambda window, piece: [0.5 if holds(window, piece, APPLE) else -9.0] * 2  # noqa: E731
    sure: Rule = lambda window, piece: [4.0 if holds(window, piece, APPLE) else 2.0] * 2  # noqa: E731
    accurate = WatchedScorer(sure)
    card = CARD.model_copy(update={"calibrations": (AS_IT_IS,) * NUM_LOGITS})
    detector = OnnxHarmDetector.compose(SHIPPED_WEIGHTS, card, _pair(RuledScorer(doubt), accurate))
    filler = "The bread is on the table. " * 200
    (found,) = detector.assess([Exchange(prompt="Well?", response=f"{filler}Take the apple. {filler}")])
    assert isinstance(found, Assessment)
    assert [len(call) for call in accurate.calls] == [1]
    assert holds(accurate.calls[0][0], accurate.calls[0][0].response, APPLE)
    assert found.harmfulness == pytest.approx(1.0 / (1.0 + math.exp(-2.25)), abs=1e-3)


def test_the_engine_of_a_pair_names_all_that_decides_its_logits() -> None:
    fast, accurate = RuledScorer(_by_first_token({})), RuledScorer(_by_first_token({}))
    other = Calibration(scale=2.0, bias=0.0)
    engines = {
        _pair(fast, accurate).engine,
        _pair(fast, accurate, share=1.0).engine,
        _pair(fast, accurate, calibrations=(other, AS_IT_IS)).engine,
        _pair(fast, accurate, calibrations=(AS_IT_IS, other)).engine,
    }
    assert len(engines) == 4
