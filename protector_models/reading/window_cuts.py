"""Where windows over tokens are cut: evenly, or between the pieces of an answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSize:
    """Size and overlap of windows, in tokens."""

    num_tokens: int
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.num_tokens:
            raise ValueError(f"overlap must be in [0, {self.num_tokens}), got {self.overlap}")


def pack_pieces(pieces: Sequence[tuple[int, int]], size: WindowSize) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yields windows that are cut between pieces: the first token, and the pieces that are judged in the window.

    Each piece is judged in one window; the pieces before it, as many as fit into the overlap, are there as context. A
    piece that is longer than half a window is cut into equal parts: a few left-over words would else be judged alone.

    Args:
        pieces: tokens [first, end), one behind the other, none empty.
        size: of the windows.
    """
    cut = [part for first, end in pieces for part in _cut_evenly(first, end, max(1, size.num_tokens // 2))]
    begin = 0
    taken: list[tuple[int, int]] = []
    for place, (first, end) in enumerate(cut):
        if taken and end - begin > size.num_tokens:
            yield begin, taken
            taken = []
            begin, room = first, min(size.overlap, size.num_tokens - (end - first))
            for before in range(place - 1, -1, -1):
                if first - cut[before][0] > room:
                    break
                begin = cut[before][0]
        taken.append((first, end))
    if taken:
        yield begin, taken


def _cut_evenly(first: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    num_parts = -(-(end - first) // longest)
    edges = [first + (end - first) * part // num_parts for part in range(num_parts + 1)]
    return pairwise(edges)


def spread_windows(num_tokens: int, size: WindowSize) -> Iterator[tuple[int, int]]:
    """Yields [first, end) of the fewest windows that cover some tokens, all of one length but the last; none for none.

    Of one length, and no longer than they have to be: a full window and a few left-over tokens would cost more, and
    those few would be scored without context.
    """
    if num_tokens == 0:
        return
    stride = size.num_tokens - size.overlap
    num_windows = max(1, -(-(num_tokens - size.overlap) // stride))
    length = -(-(num_tokens + (num_windows - 1) * size.overlap) // num_windows)
    for index in range(num_windows):
        first = index * (length - size.overlap)
        yield first, min(first + length, num_tokens)
