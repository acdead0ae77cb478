"""What is in flight: who works at it and when, bounds, and what becomes of partitions that go away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipelines.streaming.broker import OutgoingRecord, Record, TopicPartition
from pipelines.streaming.in_flight import InFlight
from pipelines.streaming.results import Result, Unwritten
from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.errors import ModelUnavailableError
from tests import builders
from tests.pipelines.streaming.records import record

IN_0, IN_1 = TopicPartition("in", 0), TopicPartition("in", 1)
SETTINGS = StreamSettings(
    batch_max_records=2, concurrent_batches=1, in_flight_max_records=100, in_flight_max_bytes=1_000
)


@dataclass
class Workshop:
    """Decides batches, and rewrites what has the value b"harm", when the test says so."""

    in_flight: InFlight = field(init=False)
    begun: list[list[int]] = field(default_factory=list)
    """The offsets of each batch."""
    rewritten: list[list[int]] = field(default_factory=list)
    orders: dict[int, asyncio.Event] = field(default_factory=dict)
    """By first offset: what a batch waits for."""
    rewriting: asyncio.Event = field(default_factory=asyncio.Event)
    faults: dict[int, BaseException] = field(default_factory=dict)

    async def decide(self, records: Sequence[Record]) -> list[Result | Unwritten]:
        first = records[0].offset
        self.begun.append([record.offset for record in records])
        await self.orders.setdefault(first, asyncio.Event()).wait()
        if first in self.faults:
            raise self.faults[first]
        decided: Any = None
        return [
            Unwritten(record=record, event=builders.event(), decided=decided)
            if record.value == b"harm"
            else self._result(record)
            for record in records
        ]

    async def rewrite(self, unwritten: Sequence[Unwritten]) -> list[Result]:
        self.rewritten.append([one.record.offset for one in unwritten])
        await self.rewriting.wait()
        return [self._result(one.record) for one in unwritten]

    def _result(self, read: Record) -> Result:
        return Result(
            outgoing=(OutgoingRecord(topic="out", key=None, value=b"%d" % read.offset),), is_dead_letter=False
        )

    def open(self, settings: StreamSettings = SETTINGS) -> InFlight:
        self.in_flight = InFlight(settings=settings, decide=self.decide, rewrite=self.rewrite)
        return self.in_flight

    async def finish(self, *first_offsets: int) -> None:
        for offset in first_offsets:
            self.orders.setdefault(offset, asyncio.Event()).set()
        await settle()

    def finished(self) -> list[tuple[int, int]]:
        return [(entry.record.source.partition, entry.record.offset) for entry in self.in_flight.finished()]


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def records(*offsets: int, partition: int = 0, value: bytes = b"value") -> list[Record]:
    return [record(offset, partition=partition, value=value) for offset in offsets]


@pytest.fixture
async def workshop() -> AsyncIterator[Workshop]:
    workshop = Workshop()
    yield workshop
    workshop.in_flight.abandon()
    await settle()


async def test_a_turn_takes_what_has_come_by_the_time_it_is_free(workshop: Workshop) -> None:
    in_flight = workshop.open()
    for offset in range(4):
        in_flight.add(records(offset))
        await settle()
    assert workshop.begun == [[0]]
    await workshop.finish(0)
    assert workshop.begun == [[0], [1, 2]]
    await workshop.finish(1)
    assert workshop.begun == [[0], [1, 2], [3]]


async def test_no_more_batches_are_worked_at_than_there_are_turns(workshop: Workshop) -> None:
    in_flight = workshop.open(SETTINGS.model_copy(update={"concurrent_batches": 2}))
    in_flight.add(records(*range(7)))
    await settle()
    assert workshop.begun == [[0, 1], [2, 3]]
    await workshop.finish(2)
    assert workshop.begun == [[0, 1], [2, 3], [4, 5]]
    assert workshop.finished() == []
    await workshop.finish(0)
    assert workshop.finished() == [(0, 0), (0, 1), (0, 2), (0, 3)]


async def test_what_is_rewritten_gives_its_turn_free_and_holds_up_its_partition_alone(workshop: Workshop) -> None:
    in_flight = workshop.open()
    in_flight.add([*records(0, value=b"harm"), *records(1, partition=1), *records(1), *records(2, partition=1)])
    await workshop.finish(0)
    await workshop.finish(1)
    assert (workshop.begun, workshop.rewritten) == ([[0, 1], [1, 2]], [[0]])
    assert workshop.finished() == [(1, 1), (1, 2)]
    workshop.rewriting.set()
    await settle()
    assert sorted(workshop.finished()) == [(0, 0), (0, 1), (1, 1), (1, 2)]


async def test_what_waits_to_be_rewritten_is_cut_when_its_turn_comes_whichever_batches_it_is_of(
    workshop: Workshop,
) -> None:
    in_flight = workshop.open()
    in_flight.add(records(*range(6), value=b"harm"))
    for first in (0, 2, 4):
        await workshop.finish(first)
    assert workshop.rewritten == [[0, 1]]
    in_flight.lose({IN_1})
    workshop.rewriting.set()
    await settle()
    assert workshop.rewritten == [[0, 1], [2, 3], [4, 5]]


async def test_what_waits_to_be_rewritten_and_was_lost_is_not_rewritten(workshop: Workshop) -> None:
    in_flight = workshop.open()
    in_flight.add(records(0, 1, value=b"harm"))
    await workshop.finish(0)
    in_flight.add([*records(2, value=b"harm"), *records(3, partition=1, value=b"harm")])
    await workshop.finish(2, 3)
    in_flight.lose({IN_0})
    workshop.rewriting.set()
    await settle()
    assert workshop.rewritten == [[0, 1], [3]]
    assert workshop.finished() == [(1, 3)]


async def test_records_and_bytes_are_bounded_and_given_free_when_published(workshop: Workshop) -> None:
    in_flight = workshop.open(SETTINGS.model_copy(update={"in_flight_max_records": 3, "in_flight_max_bytes": 11}))
    in_flight.add([record(0, key=b"", value=b"12345"), record(1, key=b"", value=b"12345")])
    assert (in_flight.num_records, in_flight.room()) == (2, 1)
    in_flight.add([record(2, key=b"", value=b"1")])
    assert in_flight.room() == 0
    await workshop.finish(0)
    in_flight.remove(in_flight.finished())
    assert (in_flight.num_records, in_flight.room()) == (1, 2)


async def test_headers_count_as_what_they_hold(workshop: Workshop) -> None:
    in_flight = workshop.open()
    header = record(0, key=b"", value=b"", headers=(("é", b"x" * 998), ("none", None)))
    assert header.size_bytes() == 1_004
    in_flight.add([header])
    assert in_flight.room() == 0


async def test_records_of_a_lost_partition_are_not_published_and_the_others_are(workshop: Workshop) -> None:
    in_flight = workshop.open()
    in_flight.add([*records(0), *records(1, partition=1)])
    assert in_flight.lose({IN_0}) == 1
    assert (in_flight.holds({IN_0}), in_flight.holds({IN_1})) == (False, True)
    await workshop.finish(0)
    assert workshop.finished() == [(1, 1)]


async def test_a_partition_that_comes_back_begins_anew(workshop: Workshop) -> None:
    in_flight = workshop.open(SETTINGS.model_copy(update={"concurrent_batches": 2}))
    in_flight.add([*records(0), *records(9, partition=1)])
    in_flight.lose({IN_0})
    in_flight.add(records(0, 1))
    await settle()
    assert workshop.begun == [[0, 9], [0, 1]]
    await workshop.finish(0)
    assert sorted(workshop.finished()) == [(0, 0), (0, 1), (1, 9)]


async def test_losing_twice_counts_once(workshop: Workshop) -> None:
    in_flight = workshop.open()
    in_flight.add([*records(0), *records(1, partition=1)])
    assert [in_flight.lose({IN_0}), in_flight.lose({IN_0}), in_flight.lose({IN_0, IN_1})] == [1, 0, 1]


async def test_a_batch_that_nobody_wants_any_more_is_cancelled_and_frees_its_turn(workshop: Workshop) -> None:
    in_flight = workshop.open()
    in_flight.add([*records(0, 1), *records(2, partition=1)])
    await settle()
    assert workshop.begun == [[0, 2]]
    in_flight.lose({IN_0})
    await settle()
    assert workshop.begun == [[0, 2]]
    in_flight.lose({IN_1})
    in_flight.add(records(5, partition=1))
    await settle()
    assert workshop.begun == [[0, 2], [5]]


async def test_giving_up_what_waits_keeps_what_is_worked_at(workshop: Workshop) -> None:
    in_flight = workshop.open()
    in_flight.add([*records(0, 1, 2), *records(3, partition=1)])
    await settle()
    assert in_flight.lose_waiting() == 2
    await workshop.finish(0)
    assert sorted(workshop.finished()) == [(0, 0), (1, 3)]
    assert workshop.begun == [[0, 3]]


async def test_a_fault_comes_out_where_the_results_are_asked_for(workshop: Workshop) -> None:
    in_flight = workshop.open()
    workshop.faults[0] = ZeroDivisionError("scripted")
    in_flight.add(records(0))
    await workshop.finish(0)
    with pytest.raises(ZeroDivisionError):
        in_flight.finished()


async def test_a_fault_of_what_nobody_wants_is_nobodys(workshop: Workshop) -> None:
    in_flight = workshop.open()
    workshop.faults[0] = ZeroDivisionError("scripted")
    in_flight.add(records(0))
    await workshop.finish(0)
    in_flight.lose({IN_0})
    assert in_flight.finished() == []


async def test_work_that_something_else_cancels_is_a_fault_and_holds_up_no_turn(workshop: Workshop) -> None:
    in_flight = workshop.open()
    workshop.faults[0] = asyncio.CancelledError()
    in_flight.add([*records(0), *records(1), *records(2)])
    await workshop.finish(0)
    assert workshop.begun == [[0, 1], [2]]
    with pytest.raises(ModelUnavailableError, match="cancelled"):
        in_flight.finished()


async def test_abandoning_drops_everything_and_counts_it(workshop: Workshop) -> None:
    in_flight = workshop.open()
    in_flight.add(records(0, 1, 2))
    await settle()
    assert in_flight.abandon() == 3
    assert (in_flight.num_records, in_flight.room(), in_flight.finished()) == (0, 100, [])
    await settle()
    assert workshop.begun == [[0, 1]]
    assert in_flight.abandon() == 0
