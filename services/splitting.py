"""A batch cut into calls of bounded size."""

from collections.abc import Sequence


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
