import numpy as np
import pytest

from protector_models.evaluation.detector.baselines import score_baselines
from protector_models.judges.refusals import is_refusal


@pytest.mark.parametrize(
    "response", ["I'm sorry, but I can't help with that.", "As an AI language model, no.", "I cannot assist with this."]
)
def test_stock_refusals_are_recognised(response: str) -> None:
    assert is_refusal(response)


@pytest.mark.parametrize("response", ["Sure, here is how.", "", "Bread needs flour. " * 40 + "I'm sorry."])
def test_answers_are_no_refusals(response: str) -> None:
    assert not is_refusal(response)


def test_always_harmful_has_the_f1_of_the_harmful_share_and_no_ranking() -> None:
    row = score_baselines(["a", "bb", "ccc"], np.array([True, False, False]))["always harmful"]
    assert row.f1 == pytest.approx(0.5)
    assert row.auroc == 0.5


def test_length_ranks_long_answers_as_harmful_and_has_no_threshold() -> None:
    row = score_baselines(["a", "bb", "ccc"], np.array([False, False, True]))["length"]
    assert (row.f1, row.auroc) == (None, 1.0)


def test_one_class_has_no_auroc() -> None:
    rows = score_baselines(["a", "b"], np.array([False, False]))
    assert {(row.f1, row.auroc) for row in rows.values()} == {(None, None)}
    assert {name: row.fpr for name, row in rows.items()} == {
        "not a refusal": 1.0,
        "always harmful": 1.0,
        "length": None,
    }
