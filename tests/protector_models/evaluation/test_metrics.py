from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.evaluation import metrics
from protector_models.evaluation.metrics import Labels, Scores


@pytest.fixture(scope="module")
def scikit_learn() -> Any:
    from sklearn import metrics as theirs  # type: ignore[import-untyped]  # noqa: PLC0415  # ships no types; two seconds

    return theirs


EMPTY: tuple[Labels, Scores] = (np.zeros(0, dtype=np.bool_), np.zeros(0))


def _rows(labels: list[int], scores: list[float]) -> tuple[Labels, Scores]:
    return np.array(labels, dtype=np.bool_), np.array(scores, dtype=np.float64)


@st.composite
def _two_class_rows(draw: st.DrawFn) -> tuple[Labels, Scores]:
    size = draw(st.integers(2, 40))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size).filter(lambda drawn: len(set(drawn)) == 2))
    # Few distinct scores, so that ties are common.
    scores = draw(st.lists(st.integers(0, 6).map(lambda x: x / 6), min_size=size, max_size=size))
    return _rows(labels, scores)


@given(rows=_two_class_rows())
def test_auroc_auprc_and_f1_agree_with_scikit_learn(scikit_learn: Any, rows: tuple[Labels, Scores]) -> None:
    labels_N, scores_N = rows
    assert metrics.auroc(labels_N, scores_N) == pytest.approx(scikit_learn.roc_auc_score(labels_N, scores_N))
    assert metrics.auprc(labels_N, scores_N) == pytest.approx(scikit_learn.average_precision_score(labels_N, scores_N))
    assert metrics.f1_at(labels_N, scores_N, 0.5) == pytest.approx(
        scikit_learn.f1_score(labels_N, scores_N >= 0.5, zero_division=0)
    )


@given(rows=_two_class_rows(), max_fpr=st.sampled_from([0.0, 0.01, 0.2, 1.0]))
def test_tpr_at_fpr_is_the_best_point_of_the_roc_curve_within_the_budget(
    scikit_learn: Any, rows: tuple[Labels, Scores], max_fpr: float
) -> None:
    fprs, tprs, _ = scikit_learn.roc_curve(*rows, drop_intermediate=False)
    assert metrics.tpr_at_fpr(*rows, max_fpr=max_fpr) == pytest.approx(tprs[fprs <= max_fpr].max())


@pytest.mark.parametrize("rows", [EMPTY, _rows([1, 1], [0.1, 0.9]), _rows([0, 0], [0.1, 0.9])])
def test_metrics_of_two_classes_do_not_exist_for_one_or_none(rows: tuple[Labels, Scores]) -> None:
    assert metrics.auroc(*rows) is None
    assert metrics.tpr_at_fpr(*rows, max_fpr=0.01) is None
    assert metrics.expected_calibration_error(*rows) is None


def test_each_one_class_metric_exists_where_its_class_does() -> None:
    harmful, safe = _rows([1, 1], [0.1, 0.9]), _rows([0, 0], [0.1, 0.9])
    assert metrics.recall_at(*harmful, threshold=0.5) == 0.5
    assert metrics.fpr_at(*safe, threshold=0.5) == 0.5
    assert metrics.recall_at(*safe, threshold=0.5) is None
    assert metrics.fpr_at(*harmful, threshold=0.5) is None
    assert metrics.f1_at(*safe, threshold=0.5) is None
    assert metrics.precision_at(*safe, threshold=0.5) is None
    assert metrics.auprc(*safe) is None


def test_precision_does_not_exist_where_nothing_is_flagged() -> None:
    assert metrics.precision_at(*_rows([1, 0], [0.1, 0.2]), threshold=0.5) is None


def test_scores_that_are_the_harmful_share_are_calibrated() -> None:
    assert metrics.expected_calibration_error(*_rows([1, 0, 0, 0], [0.25] * 4)) == pytest.approx(0.0)
    assert metrics.expected_calibration_error(*_rows([0, 0, 1, 0], [1.0] * 4)) == pytest.approx(0.75)


def _rank(prompts: list[str], labels: list[int], scores: list[float]) -> metrics.Estimate:
    return metrics.rank_within_prompts(prompts, *_rows(labels, scores), num_resamples=100, seed=0)


def test_pairs_are_ranked_within_their_prompt_only() -> None:
    assert _rank(["a", "a", "b", "b", ""], [1, 0, 1, 0, 0], [0.2, 0.1, 0.5, 0.9, 0.0]).value == 0.5
    assert _rank(["a", "a", "a"], [1, 0, 0], [0.5, 0.5, 0.1]).value == 0.75
    assert _rank(["a", "b", "c", "d", "e"], [1, 0, 1, 0, 0], [0.2, 0.1, 0.5, 0.9, 0.0]).value is None


def test_the_interval_of_pairs_is_over_prompts() -> None:
    # Many pairs of one prompt are one draw: nothing is known about other prompts, however many pairs there are.
    one = _rank(["a"] * 40, [1, 0] * 20, [0.1, 0.2, 0.3, 0.0] * 10)
    assert one.interval == metrics.Interval(low=0.75, high=0.75)
    several = _rank(["a", "a", "b", "b", "c", "c", "d", "d"], [1, 0] * 4, [0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.1, 0.9])
    assert several.value == 0.75
    assert several.interval is not None
    assert several.interval.low < 0.75 < several.interval.high


@given(rows=_two_class_rows())
def test_roc_points_are_the_curve_of_scikit_learn_and_calibration_bins_hold_every_row(
    scikit_learn: Any,
    rows: tuple[Labels, Scores],
) -> None:
    fpr_K, tpr_K = metrics.roc_points(*rows)
    expected_fpr_K, expected_tpr_K, _ = scikit_learn.roc_curve(*rows, drop_intermediate=False)
    assert fpr_K.tolist() == pytest.approx(expected_fpr_K.tolist())
    assert tpr_K.tolist() == pytest.approx(expected_tpr_K.tolist())
    assert sum(found.num_rows for found in metrics.calibration_bins(*rows)) == len(rows[0])


def test_an_interval_holds_its_estimate_and_shrinks_with_more_rows() -> None:
    rng = np.random.default_rng(0)
    widths: list[float] = []
    for size in (60, 1_500):
        labels_N = rng.random(size) < 0.5
        scores_N = np.clip(labels_N * 0.2 + rng.random(size) * 0.8, 0.0, 1.0)
        found = metrics.estimate(metrics.auroc, labels_N, scores_N, num_resamples=100, seed=1)
        assert found.value is not None
        assert found.interval is not None
        assert found.interval.low < found.value < found.interval.high
        widths.append(found.interval.high - found.interval.low)
    assert widths[1] < widths[0] / 2


def test_a_metric_that_does_not_exist_has_no_interval() -> None:
    found = metrics.estimate(metrics.auroc, *EMPTY, num_resamples=10, seed=0)
    assert (found.value, found.interval) == (None, None)
