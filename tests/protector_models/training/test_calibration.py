import numpy as np
import numpy.typing as npt
import pytest

from protector_models.checkpoints import LogitMix
from protector_models.training.calibration import UNFITTED, HeldOutLogits, fit_mix, pick_budget_thresholds

Column = npt.NDArray[np.float64]


def _fit(encoder: Column, words: Column, labels: Column) -> LogitMix:
    return fit_mix(HeldOutLogits(encoder_RK=encoder, bag_of_words_RK=words, labels_RK=labels), 0)


def _draw(num_rows: int) -> tuple[Column, Column, Column]:
    rng = np.random.default_rng(0)
    encoder, words = rng.normal(size=num_rows) * 3, rng.normal(size=num_rows) * 3
    probability = 1 / (1 + np.exp(-(0.5 * encoder + 1.5 * words - 1.0)))
    return encoder[:, None], words[:, None], (rng.random(num_rows) < probability).astype(float)[:, None]


def test_the_weights_that_made_the_labels_are_found_again() -> None:
    mix = _fit(*_draw(20_000))
    assert (mix.encoder, mix.bag_of_words, mix.bias) == pytest.approx((0.5, 1.5, -1.0), abs=0.1)


def test_rows_without_a_label_say_nothing() -> None:
    encoder, words, labels = _draw(2_000)
    hidden = labels.copy()
    hidden[1_000:] = np.nan
    assert _fit(encoder, words, hidden) == _fit(encoder[:1_000], words[:1_000], labels[:1_000])


def test_an_output_with_few_rows_of_a_label_keeps_the_encoder_as_it_is() -> None:
    encoder, words, labels = _draw(200)
    labels[:] = 0.0
    labels[:24] = 1.0
    assert _fit(encoder, words, labels) == UNFITTED


def test_a_model_that_ranks_backwards_is_not_turned_around() -> None:
    encoder, words, labels = _draw(2_000)
    mix = _fit(encoder, -words, labels)
    assert mix.bag_of_words == 0.0
    alone = _fit(encoder, 0.0 * words, labels)
    assert (mix.encoder, mix.bias) == (alone.encoder, alone.bias)


def test_rows_are_picked_and_joined_with_their_labels() -> None:
    encoder, words, labels = _draw(10)
    held_out = HeldOutLogits(encoder_RK=encoder, bag_of_words_RK=words, labels_RK=labels)
    again = held_out.pick([0, 1, 2]).join(held_out.pick(range(3, 10)))
    assert np.array_equal(again.encoder_RK, encoder)
    assert np.array_equal(again.bag_of_words_RK, words)
    assert np.array_equal(again.labels_RK, labels)


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
