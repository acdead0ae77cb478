import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protector_models.detectors.cascade import Alignment, Band, CascadeDetector
from protector_models.evaluation.detector.band_choice import Outcomes, ScoredTwice, choose_band
from protector_models.evaluation.metrics import auroc, f1_at
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from tests.builders import assessment, exchange
from tests.protector_models.scripted_detector import ScriptedDetector

ALIGNMENT = Alignment(first_threshold=0.5, second_threshold=0.4)
FAILURE = ItemFailure(error="Poison", message="not read")
SCORE = st.integers(0, 100).map(lambda number: number / 100)
ROWS = st.lists(st.tuples(st.booleans(), SCORE, SCORE), min_size=2, max_size=12).filter(
    lambda rows: len({label for label, _, _ in rows}) == 2
)


def make_outcomes(rows: list[tuple[bool, float, float]]) -> Outcomes:
    return Outcomes(
        labels=[label for label, _, _ in rows],
        first=[assessment(first) for _, first, _ in rows],
        second=[assessment(second) for _, _, second in rows],
    )


@settings(deadline=None, max_examples=15)
@given(ROWS, st.sampled_from([0.0, 0.02, 0.2]))
def test_the_chosen_band_loses_no_more_than_allowed_and_reports_what_it_does(
    rows: list[tuple[bool, float, float]], max_loss: float
) -> None:
    outcomes = make_outcomes(rows)
    choice = choose_band(outcomes, ALIGNMENT, max_loss=max_loss)

    assert choice.band.low <= ALIGNMENT.first_threshold <= choice.band.high
    assert choice.auroc >= choice.second_auroc - max_loss
    assert choice.f1 >= choice.second_f1 - max_loss
    scored = ScoredTwice.of(outcomes, ALIGNMENT)
    sent_N = scored.find_sent(choice.band)
    assert choice.share_sent_on == sent_N.mean()
    assert choice.auroc == auroc(scored.labels_N, scored.merge(sent_N))
    assert choice.f1 == f1_at(scored.labels_N, scored.merge(sent_N), ALIGNMENT.second_threshold)


@settings(deadline=None, max_examples=8)
@given(ROWS)
def test_the_more_may_be_lost_the_less_is_sent_on(rows: list[tuple[bool, float, float]]) -> None:
    shares = [
        choose_band(make_outcomes(rows), ALIGNMENT, max_loss=loss).share_sent_on for loss in (0.0, 0.01, 0.1, 1.0)
    ]
    assert shares == sorted(shares, reverse=True)


def test_a_first_detector_as_good_as_the_second_settles_nearly_everything() -> None:
    rows = [(number % 2 == 1, 0.9 if number % 2 else 0.1, 0.9 if number % 2 else 0.1) for number in range(20)]
    choice = choose_band(make_outcomes(rows), ALIGNMENT, max_loss=0.0)

    assert choice.share_sent_on == 0.0
    assert choice.f1 == choice.second_f1 == 1.0


def test_a_first_detector_that_is_wrong_where_it_is_sure_settles_nothing() -> None:
    # Wrong at both ends, so that every band but the whole one settles something wrongly.
    rows = [(number % 2 == 1, 0.0 if number % 2 else 1.0, 0.9 if number % 2 else 0.1) for number in range(20)]
    choice = choose_band(make_outcomes(rows), ALIGNMENT, max_loss=0.0)

    assert choice.band == Band(low=0.0, high=1.0)
    assert choice.share_sent_on == 1.0


async def test_rows_merge_as_the_cascade_merges_them() -> None:
    band = Band(low=0.2, high=0.8)
    scores = [number / 20 for number in range(21)]
    first, second = ScriptedDetector(threshold=0.5), ScriptedDetector("second", threshold=0.4)
    exchanges = [exchange(f"harm={score}") for score in scores]
    cascade = CascadeDetector(first, second, band=band)
    served = [found.harmfulness for found in await cascade.assess(exchanges) if isinstance(found, Assessment)]

    scored = ScoredTwice.of(make_outcomes([(False, score, score) for score in scores]), ALIGNMENT)
    assert scored.merge(scored.find_sent(band)).tolist() == served


@pytest.mark.parametrize("first", [FAILURE, assessment(0.0, characters_unread=1)])
def test_what_the_first_did_not_score_in_full_counts_as_sent_on(first: Assessment | ItemFailure) -> None:
    outcomes = Outcomes(labels=[True, False], first=[first, assessment(0.1)], second=[assessment(0.9)] * 2)
    scored = ScoredTwice.of(outcomes, ALIGNMENT)
    sent_N = scored.find_sent(Band(low=0.3, high=0.7))

    assert sent_N.tolist() == [True, False]
    assert scored.merge(sent_N).tolist() == [0.9, ALIGNMENT.shift(0.1)]
    assert not np.isnan(scored.merge(sent_N)).any()


def test_rows_of_one_label_choose_nothing() -> None:
    with pytest.raises(ValueError, match="expected held-out rows of both labels, got 2 harmful of 2"):
        choose_band(make_outcomes([(True, 0.1, 0.1)] * 2), ALIGNMENT, max_loss=0.1)


def test_a_negative_loss_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected at least 0, got -0\.1"):
        choose_band(make_outcomes([(True, 0.1, 0.1), (False, 0.1, 0.1)]), ALIGNMENT, max_loss=-0.1)
