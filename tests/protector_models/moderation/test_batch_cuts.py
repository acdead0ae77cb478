"""Batches cut into calls."""

from hypothesis import given, settings
from hypothesis import strategies as st

from protector_models.moderation.batch_cuts import split_by_count, split_by_size

SIZES = st.lists(st.integers(min_value=0, max_value=50), max_size=60)


@settings(derandomize=True, deadline=None, database=None)
@given(SIZES, st.integers(1, 100), st.integers(1, 10))
def test_slices_hold_every_item_once_in_order(sizes: list[int], max_size: int, max_items: int) -> None:
    slices = split_by_size(sizes, max_size=max_size, max_items=max_items)

    assert [size for part in slices for size in sizes[part]] == sizes
    assert all(sizes[part] for part in slices)


@settings(derandomize=True, deadline=None, database=None)
@given(SIZES, st.integers(1, 100), st.integers(1, 10))
def test_no_slice_is_above_the_bounds_but_one_of_a_single_item(sizes: list[int], max_size: int, max_items: int) -> None:
    for part in split_by_size(sizes, max_size=max_size, max_items=max_items):
        held = sizes[part]
        assert len(held) <= max_items
        assert sum(held) <= max_size or len(held) == 1


def test_what_fits_is_not_cut() -> None:
    assert split_by_size([10, 20, 30], max_size=60, max_items=3) == [slice(0, 3)]


@settings(derandomize=True, deadline=None, database=None)
@given(SIZES, st.integers(1, 70))
def test_parts_hold_every_item_once_in_order_and_only_the_last_may_be_shorter(items: list[int], count: int) -> None:
    parts = list(split_by_count(items, count))

    assert [item for part in parts for item in part] == items
    assert all(len(part) == count for part in parts[:-1])
    assert all(0 < len(part) <= count for part in parts[-1:])
