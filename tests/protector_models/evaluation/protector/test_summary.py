import pytest

from protector_models.evaluation.protector.summary import estimate_share


def test_a_share_on_which_all_rows_agree_still_has_an_interval() -> None:
    none, every = estimate_share([False] * 5), estimate_share([True] * 5)
    assert none.interval is not None
    assert every.interval is not None
    # Wilson's bounds for 0 of 5 and 5 of 5.
    assert list(none.interval) == pytest.approx([0.0, 0.4345], abs=1e-3)
    assert list(every.interval) == pytest.approx([0.5655, 1.0], abs=1e-3)


def test_an_interval_holds_its_share_and_narrows_with_more_rows() -> None:
    few, many = estimate_share([True, False] * 5), estimate_share([True, False] * 500)
    for found in (few, many):
        assert found.value == 0.5
        assert found.interval is not None
        assert found.interval[0] < 0.5 < found.interval[1]
    assert few.interval is not None
    assert many.interval is not None
    assert many.interval[1] - many.interval[0] < few.interval[1] - few.interval[0]


def test_no_rows_have_no_share() -> None:
    found = estimate_share([])
    assert (found.n, found.value, found.interval) == (0, None, None)
