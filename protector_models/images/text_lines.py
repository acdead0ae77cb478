"""Pieces of text found in a picture, put into lines and lines into reading order. Pure geometry.

Shapes: a box is four corners (4, 2) in pixels, clockwise from the upper left as the text is read, x to the right and y
down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt

Box = npt.NDArray[np.float32]

_SAME_LINE = 0.5
"""Share of the lower height by which two pieces of one line overlap vertically."""
_GUTTER = 1.0
"""Least width of the space between two columns, in heights of their lines."""
_MIN_LINES_OF_COLUMN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The upright rectangle around a box."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, box: Box) -> Self:
        """Returns the rectangle around the corners."""
        (left, top), (right, bottom) = box.min(axis=0), box.max(axis=0)
        return cls(left=float(left), top=float(top), right=float(right), bottom=float(bottom))

    @property
    def height(self) -> float:
        """Pixels from top to bottom, at least 1."""
        return max(self.bottom - self.top, 1.0)

    def shares_line_with(self, other: Self) -> bool:
        """Tells whether both stand beside each other rather than one below the other."""
        overlap = min(self.bottom, other.bottom) - max(self.top, other.top)
        return overlap >= _SAME_LINE * min(self.height, other.height)


def group_lines(extents: Sequence[Extent]) -> list[list[int]]:
    """Puts pieces that stand beside each other into one line.

    Returns:
        The indices of each line's pieces from left to right; lines from the top down. Every index is there once.
    """
    lines: list[list[int]] = []
    for index in sorted(range(len(extents)), key=lambda index: (extents[index].top, extents[index].left)):
        # The nearest line above first: of two that overlap the piece, the lower one is more like it.
        fitting = next((line for line in reversed(lines) if extents[line[-1]].shares_line_with(extents[index])), None)
        if fitting is None:
            lines.append([index])
        else:
            fitting.append(index)
    for line in lines:
        line.sort(key=lambda index: extents[index].left)
    return sorted(lines, key=lambda line: min(extents[index].top for index in line))


def order_for_reading(extents: Sequence[Extent]) -> list[list[int]]:
    """Groups pieces into lines, those of a left column before those of a right one.

    Columns are told by an empty gutter that all lines keep; where none goes through the whole block, the block is cut
    at its widest vertical gap and each part is looked at by itself, so that a heading may stand above two columns.

    Returns:
        As `group_lines`.
    """
    return _order(extents, list(range(len(extents))))


def _order(extents: Sequence[Extent], block: Sequence[int]) -> list[list[int]]:
    lines = [[block[position] for position in line] for line in group_lines([extents[index] for index in block])]
    if not any(_has_wide_gap(extents, line) for line in lines):
        return lines  # nothing here can be a second column
    columns = _cut_at_gutter(extents, block)
    if columns is None:
        columns = _cut_below_heading(extents, lines)
    if columns is None:
        return lines
    first, second = columns
    return _order(extents, first) + _order(extents, second)


def _has_wide_gap(extents: Sequence[Extent], line: Sequence[int]) -> bool:
    return any(
        extents[right].left - extents[left].right >= _GUTTER * extents[right].height for left, right in pairwise(line)
    )


def _cut_at_gutter(extents: Sequence[Extent], block: Sequence[int]) -> tuple[list[int], list[int]] | None:
    """Returns what is left and right of the widest gutter that goes through the block, or None without one."""
    by_left = sorted(block, key=lambda index: extents[index].left)
    height = float(np.median([extents[index].height for index in block]))
    best: tuple[float, int] = (_GUTTER * height, 0)
    reach = extents[by_left[0]].right
    for position, index in enumerate(by_left[1:], start=1):
        best = max(best, (extents[index].left - reach, position))
        reach = max(reach, extents[index].right)
    first, second = by_left[: best[1]], by_left[best[1] :]
    if min(_count_lines(extents, first), _count_lines(extents, second)) < _MIN_LINES_OF_COLUMN:
        return None
    return first, second


def _count_lines(extents: Sequence[Extent], block: Sequence[int]) -> int:
    return len(group_lines([extents[index] for index in block]))


def _cut_below_heading(extents: Sequence[Extent], lines: Sequence[Sequence[int]]) -> tuple[list[int], list[int]] | None:
    """Returns the lines above and below the widest vertical gap, or None where no two lines are apart."""
    if len(lines) < 2:
        return None
    bottoms = [max(extents[index].bottom for index in line) for line in lines]
    tops = [min(extents[index].top for index in line) for line in lines]
    gaps = [tops[position] - max(bottoms[:position]) for position in range(1, len(lines))]
    cut = int(np.argmax(gaps)) + 1
    return [index for line in lines[:cut] for index in line], [index for line in lines[cut:] for index in line]
