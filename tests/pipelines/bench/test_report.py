"""What a benchmark reports."""

import pytest

from pipelines.bench.report import compare


def test_the_ratio_is_the_median_over_pairs_measured_in_turn() -> None:
    comparison = compare(
        "thing", against_what="other thing", values=[10.0, 40.0, 90.0], against=[10.0, 20.0, 30.0], unit="events/s"
    )
    assert (comparison.ratio, comparison.ratio_lowest, comparison.ratio_highest) == (2.0, 1.0, 3.0)
    assert (comparison.value, comparison.against, comparison.repeats) == (40.0, 20.0, 3)
    assert "cores" in comparison.hardware


def test_measurements_without_a_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare("thing", against_what="other thing", values=[1.0, 2.0], against=[1.0], unit="events/s")
