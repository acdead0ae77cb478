"""Records between their reading and their publishing: one lane a partition, in offset order, with bounds and fair."""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from pipelines.streaming.broker import Record, TopicPartition
from pipelines.streaming.results import Result, Unwritten


@dataclass(slots=True, eq=False)
class Entry:
    """A record on its way."""

    record: Record
    size_bytes: int
    unwritten: Unwritten | None = None
    """Set where its response is to be rewritten."""
    result: Result | None = None
    """None until it has one."""
    error: BaseException | None = None
    """Why it will have none."""
    result_bytes: int = 0
    is_wanted: bool = True
    """False once it was given up: then nobody asks for its result."""

    def finish(self, result: Result) -> None:
        """Give it its result, or another one."""
        self.result, self.result_bytes = result, result.size_bytes()


@dataclass(slots=True, eq=False)
class _Lane:
    """What was read of one partition and is not yet published. Those that nobody works at are the last ones."""

    started: deque[Entry] = field(default_factory=deque)
    waiting: deque[Entry] = field(default_factory=deque)


class Lanes:
    """What is in flight, by partition.

    Laws (held by tests): entries begin, and leave, in offset order in their partition; only those whose predecessors
    have results leave; no partition waits for ever while others get on.
    """

    def __init__(self) -> None:
        self._lanes: dict[TopicPartition, _Lane] = {}
        """Those that gave least lately come first."""
        self._hungry: deque[_Lane] = deque()
        """Lanes with something that waits, in the order in which they may begin it."""
        self.num_records = 0
        self.num_bytes = 0
        """As they were read."""

    def add(self, records: Iterable[Record]) -> None:
        """Let records wait, per partition in offset order, behind those that do already."""
        for record in records:
            lane = self._lanes.setdefault(record.source, _Lane())
            if not lane.waiting:
                self._hungry.append(lane)
            entry = Entry(record, record.size_bytes())
            lane.waiting.append(entry)
            self.num_records += 1
            self.num_bytes += entry.size_bytes

    def begin(self, *, max_records: int, max_bytes: int) -> list[Entry]:
        """Return what waits and is now begun, one of each partition in turn; empty where nothing waits.

        Args:
            max_records: at most so many.
            max_bytes: at most so many; a single record may be larger.
        """
        begun: list[Entry] = []
        num_bytes = 0
        while self._hungry and len(begun) < max_records:
            lane = self._hungry[0]
            num_bytes += lane.waiting[0].size_bytes
            if begun and num_bytes > max_bytes:
                break
            entry = lane.waiting.popleft()
            lane.started.append(entry)
            begun.append(entry)
            self._hungry.popleft()
            if lane.waiting:
                self._hungry.append(lane)
        return begun

    def finished(self, *, max_records: int, max_bytes: int) -> list[Entry]:
        """Return entries that have a result, and so have all before them in their partition.

        Args:
            max_records: at most so many.
            max_bytes: at most so many bytes to publish; a single entry may have more.

        Raises:
            BaseException: why an entry will have no result, whose turn it would be.
        """
        found: list[Entry] = []
        num_bytes = 0
        for lane in self._lanes.values():
            for entry in lane.started:
                if entry.error is not None:
                    raise entry.error
                if entry.result is None:
                    break
                num_bytes += entry.result_bytes
                if found and (len(found) >= max_records or num_bytes > max_bytes):
                    return found
                found.append(entry)
        return found

    def is_finished(self) -> bool:
        """Tell whether nothing is in flight that has no result yet."""
        lanes = self._lanes.values()
        return not self._hungry and all(entry.result is not None for lane in lanes for entry in lane.started)

    def num_dead_letters(self) -> int:
        """Return how many of those in flight that have a result are dead letters."""
        results = [entry.result for lane in self._lanes.values() for entry in lane.started]
        return sum(result is not None and result.is_dead_letter for result in results)

    def remove(self, entries: Sequence[Entry]) -> None:
        """Remove entries that were published: the first of their partitions."""
        for entry in entries:
            removed = self._lanes[entry.record.source].started.popleft()
            assert removed is entry
            self._forget([entry])
        for partition in {entry.record.source: None for entry in entries}:
            lane = self._lanes.pop(partition)
            if lane.started or lane.waiting:
                self._lanes[partition] = lane

    def lose(self, partitions: Collection[TopicPartition]) -> int:
        """Give up what is in flight of partitions; return how many records."""
        lost = [self._lanes.pop(partition) for partition in partitions if partition in self._lanes]
        return sum(self._give_up(lane.waiting) + self._give_up(lane.started) for lane in lost)

    def lose_waiting(self, partitions: Collection[TopicPartition]) -> int:
        """Give up what waits of partitions; return how many records."""
        lanes = [self._lanes[partition] for partition in partitions if partition in self._lanes]
        return sum(self._give_up(lane.waiting) for lane in lanes)

    def holds(self, partitions: Collection[TopicPartition]) -> bool:
        """Tell whether something of these partitions is in flight."""
        lanes = [self._lanes[partition] for partition in partitions if partition in self._lanes]
        return any(lane.started or lane.waiting for lane in lanes)

    def partitions(self) -> list[TopicPartition]:
        """Return the partitions that have something in flight, or had until it was given up."""
        return list(self._lanes)

    def _give_up(self, entries: deque[Entry]) -> int:
        number = len(entries)
        for entry in entries:
            entry.is_wanted = False
        self._forget(entries)
        entries.clear()
        self._hungry = deque(lane for lane in self._hungry if lane.waiting)
        return number

    def _forget(self, entries: Collection[Entry]) -> None:
        self.num_records -= len(entries)
        self.num_bytes -= sum(entry.size_bytes for entry in entries)
