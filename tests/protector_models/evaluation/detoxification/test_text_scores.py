from math import prod

import numpy as np
import pytest

from protector_models.evaluation.detoxification.pair_sets import ToxicText
from protector_models.evaluation.detoxification.text_scores import (
    chrf,
    compare_j,
    compare_references,
    edit_rate,
    estimate_share,
    score_rewrites,
    summarise_row,
)
from tests.protector_models.judges.simple_judges import simple_judges

ITEMS = [
    ToxicText(source="you are an idiot", references=("you are wrong", "you err")),
    ToxicText(source="what an idiot move", references=("what a bad move",)),
]


def test_j_is_the_mean_of_products_not_the_product_of_means() -> None:
    rewrites = ["you are wrong", "what an idiot move"]
    scores = score_rewrites(ITEMS, rewrites, simple_judges().texts)
    row = summarise_row(scores, chrf_other_references=None)
    assert scores.sta_N.tolist() == [1.0, 0.0]
    assert row.sim == pytest.approx((2 / 5 + 1) / 2)
    assert row.j == pytest.approx((2 / 5) / 2)  # the second is toxic, whatever else it is
    means = (float(values_N.mean()) for values_N in (scores.sta_N, scores.sim_N, scores.chrf_N))
    assert row.j != pytest.approx(prod(means))
    assert row.changed == 0.5
    assert row.edit_rate == pytest.approx(2 / 4 / 2)


def test_every_figure_has_an_interval_around_it() -> None:
    row = summarise_row(score_rewrites(ITEMS, ["you err", "what a"], simple_judges().texts), chrf_other_references=None)
    values = row.model_dump(exclude={"intervals", "chrf_other_references"})
    assert set(values) == set(row.intervals)
    assert all(low <= values[name] <= high for name, span in row.intervals.items() if span for low, high in [span])
    assert row.fluency == 0.5  # "what a" is broken
    assert row.j_fluency is not None
    assert row.j is not None
    assert row.j_fluency < row.j


def test_a_row_without_texts_has_no_figures() -> None:
    row = summarise_row(score_rewrites([], [], simple_judges().texts), chrf_other_references=None)
    assert (row.sta, row.j, row.intervals["j"]) == (None, None, None)


def test_chrf_takes_the_nearest_of_several_references() -> None:
    assert chrf("you err", ["you are wrong", "you err"]) == pytest.approx(1.0)
    assert 0.0 < chrf("you err", ["you are wrong"]) < 1.0
    assert chrf("", ["you are wrong"]) == 0.0
    assert chrf("You Err", ["you err"]) == pytest.approx(1.0)
    assert chrf("You Err", ["you err"], cased=True) < 1.0
    assert compare_references(ITEMS) == chrf("you are wrong", ["you err"])
    assert compare_references(ITEMS[1:]) is None


@pytest.mark.parametrize(
    ("source", "rewrite", "rate"),
    [
        ("a b c d", "a b c d", 0.0),
        ("a b c d", "a c d", 0.25),
        ("a b", "a x b", 0.5),
        ("a b", "c d e", 1.5),
        ("a", "", 1.0),
        ("", "a", 1.0),
    ],
)
def test_the_edit_rate_counts_words_per_word_of_the_source(source: str, rewrite: str, rate: float) -> None:
    assert edit_rate(source, rewrite) == rate


def test_the_ratio_of_j_is_paired() -> None:
    judges = simple_judges().texts
    ours = score_rewrites(ITEMS, ["you are wrong", "what a bad move"], judges)
    ratio = compare_j(ours, ours)
    assert ratio.value == 1.0
    assert ratio.interval is not None
    assert (ratio.interval.low, ratio.interval.high) == (1.0, 1.0)
    nothing = score_rewrites(ITEMS, [item.source for item in ITEMS], judges)
    assert compare_j(ours, nothing).value is None


def test_a_share_of_no_rows_does_not_exist() -> None:
    assert estimate_share([]).value is None
    assert estimate_share([True, False, False, False]).value == 0.25
    assert np.isfinite(estimate_share([True]).value or 0.0)
