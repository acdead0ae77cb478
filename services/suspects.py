"""Items that may break a model: what tries alone have told of each, and what is remembered by name for a while."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from protector_models.moderation.errors import SuspectBatchError

_ENOUGH = 4
"""So much evidence convicts: two breaks after each of which the model worked, or four whatever it did."""
_REMEMBERED_S = 600.0
_MAX_REMEMBERED = 1_000

ValueT = TypeVar("ValueT")


class Suspect:
    """An item of a batch on which a model broke off. Each try alone comes right after the model has worked."""

    def __init__(self) -> None:
        self.num_breaks = 0
        """Tries alone on which the model broke off."""
        self._num_clean = 0
        self._last_break: SuspectBatchError | None = None
        self._last_clean: SuspectBatchError | None = None

    @property
    def evidence(self) -> int:
        """How much speaks against it; never becomes less."""
        return self.num_breaks + self._num_clean

    def conviction(self) -> SuspectBatchError | None:
        """Return what the model broke off with, where the evidence is enough; of several errors the surest."""
        return self._last_clean or self._last_break if self.evidence >= _ENOUGH else None

    def take_break(self, error: SuspectBatchError) -> None:
        """Take note that the model broke off on it alone. An outage may have begun just then: it counts for little."""
        self.num_breaks += 1
        self._last_break = error

    def clear_model(self) -> None:
        """Take note that the model worked right after the last break: no outage that lasts has begun with it."""
        self._num_clean += 1
        self._last_clean = self._last_break


class Remembered(Generic[ValueT]):
    """Values by the names of items, each for ten minutes after it was put; of many the last thousand."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with none; `clock` gives seconds that never go back."""
        self._clock = clock
        self._values: OrderedDict[str, tuple[float, ValueT]] = OrderedDict()
        """By name: until when it is remembered, and the value."""

    def is_empty(self) -> bool:
        """Tell whether there is nothing to find, so that nobody need make names."""
        while self._values and next(iter(self._values.values()))[0] <= self._clock():
            self._values.popitem(last=False)
        return not self._values

    def find(self, name: str) -> ValueT | None:
        """Return what is remembered under a name; None where nothing is."""
        found = None if self.is_empty() else self._values.get(name)
        return None if found is None else found[1]

    def put(self, name: str, value: ValueT) -> None:
        """Remember a value, from now on."""
        self._values[name] = (self._clock() + _REMEMBERED_S, value)
        self._values.move_to_end(name)
        while len(self._values) > _MAX_REMEMBERED:
            self._values.popitem(last=False)

    def drop(self, name: str) -> None:
        """Remember it no longer, where it is."""
        self._values.pop(name, None)
