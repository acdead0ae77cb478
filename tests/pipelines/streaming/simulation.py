"""A worker over a broker in memory and models that take their time, by a clock that jumps: see `virtual_time`."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from pipelines.streaming.broker import OutgoingRecord, Record, TopicPartition
from pipelines.streaming.memory.broker import MemoryBroker, MemoryConnection
from pipelines.streaming.processing import RecordProcessor
from pipelines.streaming.published_events import PublishedEvents
from pipelines.streaming.results import Result, Unwritten
from pipelines.streaming.settings import StreamSettings
from pipelines.streaming.worker import StreamWorker
from protector_models.moderation.fakes import RecordedMetrics
from tests import builders

T = TypeVar("T")

SETTINGS = StreamSettings(source_topic="in", sink_topic="out", group="g")
BROKER_S = 0.005
"""What a call to the broker takes."""
MAX_POLLED = 500
"""What kafka-python returns at most from one poll."""


@dataclass
class Models:
    """Decide in `decide_s` a call whatever its size, all calls at the same time or one after the other, and rewrite."""

    decide_s: Callable[[], float] = lambda: 0.5
    rewrite_s: Callable[[], float] = lambda: 0.5
    is_serial: bool = False
    batches: list[int] = field(default_factory=list)
    """The size of each batch that was decided."""
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def decide(self, records: Sequence[Record], *, published: PublishedEvents) -> list[Result | Unwritten]:
        del published
        self.batches.append(len(records))
        if self.is_serial:
            async with self._one:
                await asyncio.sleep(self.decide_s())
        else:
            await asyncio.sleep(self.decide_s())
        decided: Any = None
        return [
            Unwritten(record=record, event=builders.event(), decided=decided)
            if (record.value or b"").endswith(b"harm")
            else _result(record)
            for record in records
        ]

    async def rewrite(self, unwritten: Sequence[Unwritten]) -> list[Result]:
        await asyncio.sleep(self.rewrite_s())
        return [_result(one.record) for one in unwritten]


def _result(record: Record) -> Result:
    return Result(outgoing=(OutgoingRecord(topic="out", key=record.key, value=record.value),), is_dead_letter=False)


class _Worker(StreamWorker):
    """Calls the broker in the loop's thread, where the clock jumps."""

    async def _broker(self, call: Callable[[], T]) -> T:
        await asyncio.sleep(BROKER_S)
        return call()


@dataclass
class _Connection:
    """Gives what there is at once, and notes when something was published."""

    connection: MemoryConnection
    published: list[tuple[float, int]]

    def poll(self, *, timeout_s: float, max_records: int) -> list[Record]:
        del timeout_s
        return self.connection.poll(timeout_s=0.0, max_records=min(max_records, MAX_POLLED))

    def publish(self, records: Sequence[OutgoingRecord], next_offsets: dict[TopicPartition, int]) -> None:
        self.connection.publish(records, next_offsets)
        self.published.append((asyncio.get_running_loop().time(), len(records)))

    def __getattr__(self, verb: str) -> object:
        return getattr(self.connection, verb)


class Simulation:
    """One worker, four partitions."""

    def __init__(self, models: Models | None = None, *, settings: StreamSettings = SETTINGS) -> None:
        """Start the worker. To be made in a loop that jumps."""
        self.now_s = asyncio.get_running_loop().time
        self.models = models or Models()
        self.broker = MemoryBroker({"in": 4, "out": 4, settings.dead_letters.topic: 1}, clock=self.now_s)
        self.published: list[tuple[float, int]] = []
        """When how many results came out."""
        self.num_sent = 0
        connection = _Connection(self.broker.connect(settings, member="0"), self.published)
        self.worker = _Worker(
            connection=cast("Any", connection),
            processor=cast("RecordProcessor", self.models),
            settings=settings,
            metrics=RecordedMetrics(),
            clock=self.now_s,
        )
        self._task = asyncio.create_task(self.worker.run())

    def send(self, number: int, *, harmful_every: int | None = None) -> None:
        """Write records, of 20 keys; every n-th one is to be rewritten."""
        places = range(self.num_sent, self.num_sent + number)
        self.broker.append(
            OutgoingRecord(
                topic="in",
                key=b"c%d" % (place % 20),
                value=b"%d" % place + (b" harm" if harmful_every and place % harmful_every == 0 else b""),
            )
            for place in places
        )
        self.num_sent += number

    async def until_published(self, number: int) -> float:
        """Wait until so many results are out; return when."""
        while sum(count for _, count in self.published) < number:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.01)
        return self.published[-1][0]

    async def end(self) -> None:
        """Stop the worker, and require that each record came out once, in order."""
        self.worker.stop()
        await self._task
        came: dict[bytes, list[int]] = {}
        for record in self.broker.read("out"):
            came.setdefault(record.key or b"", []).append(int((record.value or b"").split()[0]))
        assert came == {b"c%d" % i: list(range(i, self.num_sent, 20)) for i in range(min(20, self.num_sent))}
