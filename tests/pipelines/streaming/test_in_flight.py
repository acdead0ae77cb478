"""What is in flight: bounds, order, and what becomes of partitions that go away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.streaming.broker import OutgoingRecord, Record, TopicPartition
from pipelines.streaming.in_flight import Batch, InFlight, Result, next_offsets
from tests.pipelines.streaming.records import record

IN_0, IN_1 = TopicPartition("in", 0), TopicPartition("in", 1)


@dataclass
class Workshop:
    """Processes batches when the test says so."""

    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(100))
    started: list[int] = field(default_factory=list)
    """The first offset of each batch, in the order in which they were started."""
    orders: dict[int, asyncio.Event] = field(default_factory=dict)
    faults: dict[int, Exception] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)

    async def process(self, records: Sequence[Record]) -> list[Result]:
        first = records[0].offset
        self.started.append(first)
        await self.orders.setdefault(first, asyncio.Event()).wait()
        if first in self.faults:
            raise self.faults[first]
        return [
            Result(outgoing=OutgoingRecord(topic="out", key=None, value=b"%d" % r.offset), is_dead_letter=False)
            for r in records
        ]

    def batch(self, *records: Record) -> Batch:
        batch = Batch(records, process=self.process, gate=self.gate)
        self.batches.append(batch)
        return batch

    async def finish(self, *first_offsets: int) -> None:
        for offset in first_offsets:
            self.orders.setdefault(offset, asyncio.Event()).set()
        await settle()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def workshop() -> AsyncIterator[Workshop]:
    workshop = Workshop()
    yield workshop
    for batch in workshop.batches:
        batch.cancel()
    await settle()


def in_flight(*batches: Batch, max_records: int = 100, max_bytes: int = 1_000) -> InFlight:
    queue = InFlight(max_records=max_records, max_bytes=max_bytes)
    for batch in batches:
        queue.add(batch)
    return queue


def values(batch: Batch) -> list[bytes | None]:
    return [result.outgoing.value for _, result in batch.kept()]


async def test_only_the_finished_batches_at_the_front_may_be_published(workshop: Workshop) -> None:
    first, second, third = (workshop.batch(record(offset)) for offset in (0, 1, 2))
    queue = in_flight(first, second, third)
    await workshop.finish(1, 2)
    assert queue.finished(max_records=10) == []
    await workshop.finish(0)
    assert queue.finished(max_records=10) == [first, second, third]


async def test_no_more_is_taken_for_one_publish_than_the_bound_but_always_something(workshop: Workshop) -> None:
    large = workshop.batch(*(record(offset) for offset in range(5)))
    small = workshop.batch(record(5))
    queue = in_flight(large, small)
    await workshop.finish(0, 5)
    assert queue.finished(max_records=1) == [large]
    assert queue.finished(max_records=5) == [large]
    assert queue.finished(max_records=6) == [large, small]


async def test_batches_are_started_in_order_and_no_more_of_them_than_the_gate_allows(workshop: Workshop) -> None:
    workshop.gate = asyncio.Semaphore(2)
    for offset in range(4):
        workshop.batch(record(offset))
    await settle()
    assert workshop.started == [0, 1]
    await workshop.finish(1)
    assert workshop.started == [0, 1, 2]
    await workshop.finish(0, 2)
    assert workshop.started == [0, 1, 2, 3]


async def test_records_and_bytes_are_bounded_and_given_free_when_published(workshop: Workshop) -> None:
    batch = workshop.batch(record(0, key=b"", value=b"12345"), record(1, key=b"", value=b"12345"))
    queue = in_flight(batch, max_records=3, max_bytes=11)
    assert (queue.num_records, queue.room()) == (2, 1)
    queue.add(workshop.batch(record(2, key=b"", value=b"1")))
    assert queue.room() == 0
    await workshop.finish(0)
    queue.remove(queue.finished(max_records=10))
    assert (queue.num_records, queue.room()) == (1, 2)


async def test_bytes_at_their_bound_leave_no_room_whatever_the_records(workshop: Workshop) -> None:
    assert in_flight(workshop.batch(record(0, value=b"x" * 1_000)), max_records=100, max_bytes=1_000).room() == 0


async def test_records_of_a_lost_partition_are_not_published_and_the_others_are(workshop: Workshop) -> None:
    mixed = workshop.batch(record(0), record(1, partition=1), record(2))
    queue = in_flight(mixed)
    assert queue.lose({IN_0}) == 2
    assert not queue.holds({IN_0})
    assert queue.holds({IN_1})
    await workshop.finish(0)
    assert values(mixed) == [b"1"]


async def test_losing_twice_counts_once(workshop: Workshop) -> None:
    queue = in_flight(workshop.batch(record(0), record(1, partition=1)))
    assert [queue.lose({IN_0}), queue.lose({IN_0}), queue.lose({IN_0, IN_1})] == [1, 0, 1]


async def test_a_batch_that_nobody_wants_any_more_is_cancelled_and_does_not_hold_up_the_next(
    workshop: Workshop,
) -> None:
    unwanted, wanted = workshop.batch(record(0)), workshop.batch(record(1, partition=1))
    queue = in_flight(unwanted, wanted)
    await settle()
    queue.lose({IN_0})
    await workshop.finish(1)
    assert queue.finished(max_records=10) == [unwanted, wanted]
    assert [values(batch) for batch in queue.finished(max_records=10)] == [[], [b"1"]]


async def test_a_batch_that_nobody_wants_any_more_frees_its_place_at_the_gate(workshop: Workshop) -> None:
    workshop.gate = asyncio.Semaphore(1)
    queue = in_flight(workshop.batch(record(0)), workshop.batch(record(1, partition=1)))
    await settle()
    queue.lose({IN_0})
    await settle()
    assert workshop.started == [0, 1]


async def test_giving_up_what_is_not_started_keeps_what_is(workshop: Workshop) -> None:
    workshop.gate = asyncio.Semaphore(1)
    started, waiting, other = (workshop.batch(record(offset)) for offset in (0, 1, 2))
    queue = in_flight(started, waiting, other)
    await settle()
    assert queue.lose_unstarted() == 2
    await workshop.finish(0)
    assert [values(batch) for batch in queue.finished(max_records=10)] == [[b"0"], [], []]
    assert workshop.started == [0]


async def test_a_fault_of_processing_comes_out_where_the_results_are_asked_for(workshop: Workshop) -> None:
    workshop.faults[0] = ZeroDivisionError("scripted")
    batch = workshop.batch(record(0))
    await workshop.finish(0)
    with pytest.raises(ZeroDivisionError):
        batch.kept()


async def test_a_fault_of_a_batch_that_nobody_wants_is_nobodys(workshop: Workshop) -> None:
    workshop.faults[0] = ZeroDivisionError("scripted")
    batch = workshop.batch(record(0))
    queue = in_flight(batch)
    await workshop.finish(0)
    queue.lose({IN_0})
    assert batch.kept() == []


async def test_abandoning_drops_everything_and_counts_it(workshop: Workshop) -> None:
    queue = in_flight(workshop.batch(record(0), record(1)), workshop.batch(record(2)))
    await settle()
    assert queue.abandon() == 3
    assert (queue.num_records, queue.room(), queue.finished(max_records=10)) == (0, 100, [])
    await settle()
    assert all(batch.is_done() for batch in workshop.batches)
    assert queue.abandon() == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=20))
def test_the_next_offset_of_a_partition_is_the_one_after_its_last_record(places: list[tuple[int, int]]) -> None:
    offsets = next_offsets([record(offset, partition=partition) for partition, offset in places])
    expected: dict[TopicPartition, int] = {}
    for partition, offset in places:
        source = TopicPartition("in", partition)
        expected[source] = max(expected.get(source, 0), offset + 1)
    assert offsets == expected
