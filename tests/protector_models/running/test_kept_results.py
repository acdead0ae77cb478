"""Results that wait for the next try of their batch."""

from hypothesis import given
from hypothesis import strategies as st

from protector_models.running.kept_results import KeptResults


def test_each_result_is_given_once() -> None:
    kept: KeptResults[str] = KeptResults(max_size=10)
    kept.keep({"a": "A", "b": "B"})
    assert (kept.take("a"), kept.take("a"), kept.take("c")) == ("A", None, None)
    assert not kept.is_empty()
    assert kept.take("b") == "B"
    assert kept.is_empty()


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12))), st.integers(0, 20))
def test_what_is_kept_is_bounded_and_the_newest(entries: list[tuple[str, int]], max_size: int) -> None:
    kept: KeptResults[int] = KeptResults(max_size=max_size, size=lambda number: number)
    for key, number in entries:
        kept.keep({key: number})
    found = {key: kept.take(key) for key in "abcd"}
    present = {key: number for key, number in found.items() if number is not None}
    assert sum(present.values()) <= max_size
    assert present.items() <= dict(entries).items()
