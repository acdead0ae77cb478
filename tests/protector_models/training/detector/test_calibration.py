import numpy as np
import pytest

from protector_models.training.detector.calibration import UNCALIBRATED, fit_calibration, pick_budget_thresholds

pytestmark = pytest.mark.training


def _draw(num_rows: int) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=num_rows) * 3
    labels = rng.random(num_rows) < 1 / (1 + np.exp(-(0.5 * logits - 1.0)))
    return logits.tolist(), labels.astype(float).tolist()


def test_the_numbers_that_made_the_labels_are_found_again() -> None:
    found = fit_calibration(*_draw(20_000))
    assert (found.scale, found.bias) == pytest.approx((0.5, -1.0), abs=0.05)


def test_rows_without_a_label_say_nothing() -> None:
    logits, labels = _draw(2_000)
    hidden = [*labels[:1_000], *[None] * 1_000]
    assert fit_calibration(logits, hidden) == fit_calibration(logits[:1_000], labels[:1_000])


@pytest.mark.parametrize("num_harmful", [0, 24])
def test_an_output_with_few_rows_of_a_label_keeps_its_logit(num_harmful: int) -> None:
    logits, _ = _draw(200)
    labels = [1.0] * num_harmful + [0.0] * (200 - num_harmful)
    assert fit_calibration(logits, labels) == fit_calibration([], []) == UNCALIBRATED


def test_logits_that_rank_backwards_are_not_turned_around() -> None:
    logits, labels = _draw(2_000)
    assert fit_calibration([-logit for logit in logits], labels) == UNCALIBRATED


def test_a_budget_threshold_is_the_lowest_that_keeps_to_its_budget() -> None:
    # Every score that can be reported, because some of them are a little less than what they are written as.
    scores = [round(index / 10_000, 4) for index in range(10_000)]
    budgets = [index / 10_000 for index in range(1, 10_000, 7)]
    for share, threshold in pick_budget_thresholds(scores, budgets, decimals=4).items():
        assert threshold is not None
        num_allowed = int(float(share) * 10_000)
        assert sum(score >= threshold for score in scores) == num_allowed


def test_equal_scores_are_all_kept_or_all_flagged() -> None:
    assert pick_budget_thresholds([0.5] * 100, [0.05], decimals=4) == {"0.05": 0.5001}


def test_a_budget_of_less_than_one_row_has_no_threshold() -> None:
    assert pick_budget_thresholds([0.5] * 100, [0.001], decimals=4) == {"0.001": None}
    assert pick_budget_thresholds([1.0] * 100, [0.05], decimals=4) == {"0.05": None}
