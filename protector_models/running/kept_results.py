"""What was computed for batches that were not finished: their next try asks for the rest alone."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

ResultT = TypeVar("ResultT")


class KeptResults(Generic[ResultT]):
    """Keeps results until they are asked for, each for one time. Bounded: the oldest are given up."""

    def __init__(self, *, max_size: int, size: Callable[[ResultT], int] = lambda _: 1) -> None:
        """Begin with none.

        Args:
            max_size: of all together, in the unit of `size`.
            size: of one of them; without it each counts as 1.
        """
        self._max_size = max_size
        self._size = size
        self._total = 0
        self._results: OrderedDict[str, ResultT] = OrderedDict()

    def is_empty(self) -> bool:
        """Tell whether there is nothing to take, so that nobody need make keys."""
        return not self._results

    def take(self, key: str) -> ResultT | None:
        """Return what is kept under a key, and keep it no longer; None where nothing is."""
        result = self._results.pop(key, None)
        if result is not None:
            self._total -= self._size(result)
        return result

    def keep(self, results: Mapping[str, ResultT]) -> None:
        """Keep results; what is there under the same keys is given up."""
        for key, result in results.items():
            self.take(key)
            self._results[key] = result
            self._total += self._size(result)
        while self._total > self._max_size:
            _, oldest = self._results.popitem(last=False)
            self._total -= self._size(oldest)
