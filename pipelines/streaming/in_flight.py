"""What was read and is not yet published: bounds, order, and the offsets that may be committed."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from pipelines.streaming.broker import OutgoingRecord, Record, TopicPartition


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one record."""

    outgoing: OutgoingRecord
    is_dead_letter: bool


class Batch:
    """A micro-batch on its way."""

    def __init__(
        self,
        records: Sequence[Record],
        *,
        process: Callable[[Sequence[Record]], Awaitable[list[Result]]],
        gate: asyncio.Semaphore,
    ) -> None:
        """Take a batch in; it is processed as soon as the gate lets it, batches in the order they were made.

        Args:
            records: at least one, in the order they were read.
            process: returns one result for each record, in their order.
            gate: bounds how many batches are processed at the same time.
        """
        self.records = records
        self.size_bytes = sum(record.size_bytes() for record in records)
        self._sources = {record.source for record in records}
        self._lost: set[TopicPartition] = set()
        self._is_started = False
        self._results = asyncio.create_task(self._run(process, gate))

    async def _run(
        self, process: Callable[[Sequence[Record]], Awaitable[list[Result]]], gate: asyncio.Semaphore
    ) -> list[Result]:
        async with gate:
            self._is_started = True
            return await process(self.records)

    def is_done(self) -> bool:
        """Tell whether every record has its result, or nobody wants it any more."""
        return self._results.done()

    def kept(self) -> list[tuple[Record, Result]]:
        """Return records and results of partitions that are still ours. Call it when the batch is done.

        Raises:
            Exception: what processing raised.
        """
        if self._sources <= self._lost:
            return []
        pairs = zip(self.records, self._results.result(), strict=True)
        return [(record, result) for record, result in pairs if record.source not in self._lost]

    def lose(self, partitions: Collection[TopicPartition], *, only_unstarted: bool) -> int:
        """Give up the records of some partitions; return how many. Work that nobody wants any more is cancelled."""
        if only_unstarted and self._is_started:
            return 0
        fresh = (self._sources & set(partitions)) - self._lost
        self._lost |= fresh
        if self._sources <= self._lost:
            self.cancel()
        return sum(record.source in fresh for record in self.records)

    def holds(self, partitions: Collection[TopicPartition]) -> bool:
        """Tell whether a record of these partitions still waits to be published."""
        return not (self._sources - self._lost).isdisjoint(partitions)

    def cancel(self) -> None:
        """Stop working. May be called when all is done."""
        self._results.cancel()
        # Nobody will ask for the result: say so, or asyncio reports an exception that was never retrieved.
        self._results.add_done_callback(lambda task: task.cancelled() or task.exception())


class InFlight:
    """A queue of micro-batches in the order they were read.

    Results leave it only from the front, so that per partition they are published in offset order and only a finished
    prefix is ever committed.
    """

    def __init__(self, *, max_records: int, max_bytes: int) -> None:
        self._batches: deque[Batch] = deque()
        self._max_records = max_records
        self._max_bytes = max_bytes
        self.num_records = 0
        """Records read and not yet published."""
        self._num_bytes = 0

    def room(self) -> int:
        """Return how many more records may be read; 0 or less when records or bytes are at their bound."""
        return self._max_records - self.num_records if self._num_bytes < self._max_bytes else 0

    def add(self, batch: Batch) -> None:
        """Append a batch. A single batch may exceed the bounds; the next one waits then."""
        self._batches.append(batch)
        self.num_records += len(batch.records)
        self._num_bytes += batch.size_bytes

    def finished(self, *, max_records: int) -> list[Batch]:
        """Return the batches at the front that are done: at least one if there is one, more up to a bound."""
        batches: list[Batch] = []
        num_records = 0
        for batch in self._batches:
            if not batch.is_done() or (batches and num_records + len(batch.records) > max_records):
                break
            batches.append(batch)
            num_records += len(batch.records)
        return batches

    def remove(self, batches: Collection[Batch]) -> None:
        """Remove batches from the front, which must be these."""
        for batch in batches:
            removed = self._batches.popleft()
            assert removed is batch
            self.num_records -= len(batch.records)
            self._num_bytes -= batch.size_bytes

    def lose(self, partitions: Collection[TopicPartition], *, only_unstarted: bool = False) -> int:
        """Give up the records of partitions; return how many. They are read again from the committed offset."""
        return sum(batch.lose(partitions, only_unstarted=only_unstarted) for batch in self._batches)

    def lose_unstarted(self) -> int:
        """Give up everything that is not being worked at yet; return how many records."""
        everywhere = {record.source for batch in self._batches for record in batch.records}
        return self.lose(everywhere, only_unstarted=True)

    def holds(self, partitions: Collection[TopicPartition]) -> bool:
        """Tell whether a record of these partitions still waits to be published."""
        return any(batch.holds(partitions) for batch in self._batches)

    def abandon(self) -> int:
        """Cancel and drop everything; return the number of records."""
        number = self.num_records
        for batch in self._batches:
            batch.cancel()
        self._batches.clear()
        self.num_records = self._num_bytes = 0
        return number


def next_offsets(records: Collection[Record]) -> dict[TopicPartition, int]:
    """Return, for each partition, the offset after the last of these records."""
    offsets: dict[TopicPartition, int] = {}
    for record in records:
        offsets[record.source] = max(offsets.get(record.source, 0), record.offset + 1)
    return offsets
