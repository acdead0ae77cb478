"""What a benchmark of several parts has measured so far."""

from pipelines.bench.measurements import Measurements, Row


def test_only_rows_that_have_a_pair_are_reported_in_their_order() -> None:
    rows = {name: Row(benchmark=name, against_what=f"not {name}", unit="s") for name in ("a", "b", "c")}
    measured = Measurements(rows)
    assert measured.comparisons() == {}
    measured.add("c", 1.0, against=2.0)
    measured.add("a", 1.0, against=4.0)
    measured.add("a", 3.0, against=4.0)
    found = measured.comparisons()
    assert list(found) == ["a", "c"]
    assert (found["a"].ratio, found["a"].repeats, found["a"].against_what) == (0.5, 2, "not a")
