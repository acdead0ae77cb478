"""What was read and is not yet published: who works at it, its bounds and its order."""

from collections import deque
from collections.abc import Collection, Iterable, Sequence

from pipelines.streaming.broker import Record, TopicPartition
from pipelines.streaming.lanes import Entry, Lanes
from pipelines.streaming.results import Decide, Rewrite, Unwritten
from pipelines.streaming.settings import StreamSettings
from pipelines.streaming.turns import Turns


class InFlight:
    """Records on their way to a result.

    They wait in lanes until a turn is free, which then takes as many as a micro-batch holds. What of it is to be
    rewritten leaves that turn and waits for one of its own, so that it holds up only what is behind it in its
    partition. Results leave in offset order, partition by partition, and only a finished prefix is ever committed.
    """

    def __init__(self, *, settings: StreamSettings, decide: Decide, rewrite: Rewrite) -> None:
        """Begin with nothing.

        Args:
            settings: bounds of what is in flight, of micro-batches and how many there are, and of what is published.
            decide: see there.
            rewrite: see there.
        """
        self._settings = settings
        self._decide = decide
        self._rewrite = rewrite
        self._lanes = Lanes()
        self._unwritten: deque[Entry] = deque()
        """What waits to be rewritten."""
        self._deciding = Turns(num_turns=settings.concurrent_batches, take=self._begin, work=self._decide_entries)
        self._rewriting = Turns(
            num_turns=settings.concurrent_batches, take=self._begin_rewriting, work=self._rewrite_entries
        )

    @property
    def num_records(self) -> int:
        """Records read and not yet published."""
        return self._lanes.num_records

    def room(self) -> int:
        """Return how many more records may be read; 0 or less when records or bytes are at their bound."""
        is_full = self._lanes.num_bytes >= self._settings.in_flight_max_bytes
        return 0 if is_full else self._settings.in_flight_max_records - self._lanes.num_records

    def add(self, records: Iterable[Record]) -> None:
        """Take records in, per partition in offset order; what turns are free for is begun at once."""
        self._lanes.add(records)
        self._deciding.fill()

    def finished(self) -> list[Entry]:
        """Return what may be published next, at least one entry if there is one and no more than the settings allow.

        Raises:
            Exception: what ended the work at an entry that would be the next of its partition.
        """
        return self._lanes.finished(
            max_records=self._settings.publish_max_records, max_bytes=self._settings.publish_max_bytes
        )

    def is_finished(self) -> bool:
        """Tell whether nothing is in flight that has no result yet."""
        return self._lanes.is_finished()

    def num_dead_letters(self) -> int:
        """Return how many of those in flight that have a result are dead letters."""
        return self._lanes.num_dead_letters()

    def remove(self, entries: Sequence[Entry]) -> None:
        """Remove entries that were finished and are published."""
        self._lanes.remove(entries)

    def lose(self, partitions: Collection[TopicPartition]) -> int:
        """Give up the records of partitions; return how many. They are read again from the committed offset."""
        number = self._lanes.lose(partitions)
        if number:
            self._deciding.cancel_unwanted()
            self._rewriting.cancel_unwanted()
        return number

    def lose_waiting(self, partitions: Collection[TopicPartition] | None = None) -> int:
        """Give up the records of partitions, or of all, that nobody has begun to work at; return how many."""
        return self._lanes.lose_waiting(self._lanes.partitions() if partitions is None else partitions)

    def holds(self, partitions: Collection[TopicPartition]) -> bool:
        """Tell whether a record of these partitions still waits to be published."""
        return self._lanes.holds(partitions)

    def abandon(self) -> int:
        """Give up everything; return how many records."""
        return self.lose(self._lanes.partitions())

    def _begin(self) -> list[Entry]:
        settings = self._settings
        return self._lanes.begin(max_records=settings.batch_max_records, max_bytes=settings.batch_max_bytes)

    async def _decide_entries(self, entries: Sequence[Entry]) -> None:
        for entry, decided in zip(entries, await self._decide([entry.record for entry in entries]), strict=True):
            if isinstance(decided, Unwritten):
                entry.unwritten = decided
                self._unwritten.append(entry)
            else:
                entry.finish(decided)
        self._rewriting.fill()

    def _begin_rewriting(self) -> list[Entry]:
        begun: list[Entry] = []
        while self._unwritten and len(begun) < self._settings.batch_max_records:
            entry = self._unwritten.popleft()
            if entry.is_wanted:
                begun.append(entry)
        return begun

    async def _rewrite_entries(self, entries: Sequence[Entry]) -> None:
        unwritten = [entry.unwritten for entry in entries if entry.unwritten is not None]
        for entry, result in zip(entries, await self._rewrite(unwritten), strict=True):
            entry.unwritten = None
            entry.finish(result)
