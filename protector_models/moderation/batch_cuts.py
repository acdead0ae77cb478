"""Items cut into batches, in order: by what they hold, or by their number."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def split_by_size(sizes: Sequence[int], *, max_size: int, max_items: int) -> list[slice]:
    """Return consecutive slices that cover all items in order.

    Args:
        sizes: the size of each item.
        max_size: of one slice; an item that is larger has a slice of its own.
        max_items: in one slice.
    """
    slices: list[slice] = []
    start = total = 0
    for position, size in enumerate(sizes):
        if position > start and (total + size > max_size or position - start >= max_items):
            slices.append(slice(start, position))
            start, total = position, 0
        total += size
    if sizes:
        slices.append(slice(start, len(sizes)))
    return slices


def split_by_count(items: Sequence[ItemT], count: int) -> Iterator[Sequence[ItemT]]:
    """Yield all items in order, as many as `count` at a time; the last ones may be fewer.

    Args:
        items: any sequence that can be sliced.
        count: at least 1.
    """
    for start in range(0, len(items), count):
        yield items[start : start + count]
