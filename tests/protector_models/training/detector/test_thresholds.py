import pytest

from protector_models.training.detector.thresholds import choose_threshold
from tests.protector_models.training.builders import make_example

pytestmark = pytest.mark.training

HARMFUL = make_example(harmful=1.0)
SAFE = make_example(harmful=0.0)
BENIGN = make_example(harmful=0.0, is_benign_set=True)


def test_the_threshold_keeps_benign_rows_within_their_budget() -> None:
    rows = [BENIGN] * 100 + [HARMFUL] * 50
    scores = [0.9, 0.8] + [0.1] * 98 + [0.7] * 50
    choice = choose_threshold(rows, scores)
    # Flagging the harmful rows at .7 would flag 2 of the 100 benign ones.
    assert choice.threshold > 0.8
    assert choice.benign_fpr <= 0.01


def test_the_best_f1_is_taken_where_the_budget_leaves_room() -> None:
    rows = [BENIGN] * 100 + [SAFE] * 10 + [HARMFUL] * 10
    choice = choose_threshold(rows, [0.1] * 100 + [0.6] * 10 + [0.7] * 10)
    assert 0.6 < choice.threshold <= 0.7
    assert choice.f1 == 1.0


@pytest.mark.parametrize("rows", [[BENIGN, SAFE], [HARMFUL, SAFE]])
def test_a_slice_without_harmful_or_without_ordinary_rows_gives_no_threshold(rows: list[object]) -> None:
    with pytest.raises(ValueError, match="needs harmful rows"):
        choose_threshold(rows, [0.5, 0.5])  # type: ignore[arg-type]  # the parameter set mixes rows
