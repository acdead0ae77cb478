"""The streaming worker: reads micro-batches, has several of them moderated at once, publishes results in order."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from pipelines.streaming.broker import BrokerConnection, FencedError, Record, TopicPartition
from pipelines.streaming.dead_letter import RunawayLimit
from pipelines.streaming.in_flight import Batch, InFlight, next_offsets
from pipelines.streaming.processing import RecordProcessor
from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.errors import BrokerUnavailableError
from protector_models.moderation.ports import Metrics
from services.splitting import split_by_size

_log = structlog.get_logger(__name__)

_IDLE_POLL_S = 0.25
_BUSY_POLL_S = 0.02

_MAX_FENCINGS = 5
"""In a row, without a publish between them. After a rebalance there is one; a member that another process has replaced
for good is fenced again each time it has moderated the same records again."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Polled:
    """What one call to the broker brought."""

    records: list[Record]
    lost: frozenset[TopicPartition]
    leaving: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """What a worker is doing, for health checks and progress."""

    records_read: int
    records_published: int
    records_in_flight: int
    seconds_since_poll: float
    """A worker that does not poll for long is stuck."""


class StreamWorker:
    """Moves records from the source topic through a Moderator to the sink topic.

    One coroutine makes all decisions; calls to the broker block a thread of its own; moderation runs as tasks beside
    it.

    Laws (held by tests): every record read ends as one moderated conversation or one dead letter; per partition they
    are published in offset order; an offset is committed only with everything before it; what is abandoned is read
    again.
    """

    def __init__(
        self,
        *,
        connection: BrokerConnection,
        processor: RecordProcessor,
        settings: StreamSettings,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._processor = processor
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._in_flight = InFlight(max_records=settings.in_flight_max_records, max_bytes=settings.in_flight_max_bytes)
        self._gate = asyncio.Semaphore(settings.concurrent_batches)
        self._runaway = RunawayLimit(
            window=settings.dead_letters.runaway_window, share=settings.dead_letters.runaway_share
        )
        self._broker_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker")
        self._stopping = asyncio.Event()
        self._ready_since: float | None = None
        self._troubled_since: float | None = None
        self._fencings = 0
        self._must_rewind = False
        self._leaving: frozenset[TopicPartition] = frozenset()
        self._polled_at = clock()
        self._read = 0
        self._published = 0

    def stop(self) -> None:
        """Ask `run` to drain and return. May be called twice, from the event loop's thread."""
        self._stopping.set()

    def status(self) -> WorkerStatus:
        """Return what the worker is doing. Does not block."""
        return WorkerStatus(
            records_read=self._read,
            records_published=self._published,
            records_in_flight=self._in_flight.num_records,
            seconds_since_poll=self._clock() - self._polled_at,
        )

    async def lag(self) -> dict[TopicPartition, int]:
        """Return, for each of our partitions, how many records wait to be moderated.

        Raises:
            BrokerUnavailableError: the broker cannot be reached for now.
        """
        return await self._broker(self._connection.lag)

    async def run(self) -> None:
        """Work until `stop` is called, then drain and close the connection.

        Raises:
            RunawayDeadLettersError: too many records became dead letters.
            FencedError: another process has this member's place for good.
            DependencyError: a model or the broker stayed away for longer than the settings allow.
        """
        try:
            while not self._stopping.is_set():
                await self._step(take_in=True)
            await self._drain()
        finally:
            self._abandon()
            await self._broker(partial(self._connection.close, timeout_s=self._settings.drain_timeout_s))
            self._broker_thread.shutdown(wait=False)

    async def _step(self, *, take_in: bool) -> None:
        """Poll once, start what was read, publish what is due."""
        try:
            polled = await self._poll(room=self._in_flight.room() if take_in else 0)
            await self._notice_rebalance(polled)
            self._take_in(polled.records)
            if self._is_publishing_due():
                await self._publish()
            if self._in_flight.num_records == 0:
                self._troubled_since = None
        except FencedError as error:
            self._fencings += 1
            if self._fencings > _MAX_FENCINGS:
                raise
            _log.warning("partitions moved; what is in flight is dropped and read again", reason=str(error))
            self._abandon()
            self._must_rewind = True
            await self._wait_for_broker(error)
        except BrokerUnavailableError as error:
            await self._wait_for_broker(error)

    async def _poll(self, *, room: int) -> _Polled:
        """Ask the broker for at most `room` records; with no room, only stay in the group."""
        timeout_s = _IDLE_POLL_S if self._in_flight.num_records == 0 and room > 0 else _BUSY_POLL_S
        polled = await self._broker(partial(self._poll_blocking, room=room, timeout_s=timeout_s))
        self._polled_at = self._clock()
        if polled.records:
            self._read += len(polled.records)
            self._metrics.count("weir_records_read_total", len(polled.records))
        return polled

    def _poll_blocking(self, *, room: int, timeout_s: float) -> _Polled:
        connection = self._connection
        if self._must_rewind:
            connection.rewind()
            self._must_rewind = False
        if room > 0:
            connection.resume()
        else:
            connection.pause()
        records = connection.poll(timeout_s=timeout_s, max_records=max(room, 1))
        return _Polled(records=records, lost=connection.lost(), leaving=connection.leaving())

    def _take_in(self, records: Sequence[Record]) -> None:
        """Cut records into micro-batches, in order, and start them."""
        parts = split_by_size(
            [record.size_bytes() for record in records],
            max_size=self._settings.batch_max_bytes,
            max_items=self._settings.batch_max_records,
        )
        for part in parts:
            self._in_flight.add(Batch(records[part], process=self._processor.process, gate=self._gate))

    async def _notice_rebalance(self, polled: _Polled) -> None:
        """Drop what was taken away; let go of what is being taken away once nothing of it is in flight."""
        self._leaving = polled.leaving
        number = self._in_flight.lose(polled.lost) + self._in_flight.lose(polled.leaving, only_unstarted=True)
        if number:
            self._metrics.count("weir_records_abandoned_total", number)
            _log.warning("partitions moved with records in flight; they will be read again", records=number)
        if polled.leaving and not self._in_flight.holds(polled.leaving):
            await self._broker(self._connection.let_go)

    def _is_publishing_due(self) -> bool:
        finished = self._in_flight.finished(max_records=self._settings.publish_max_records)
        if not finished:
            self._ready_since = None
            return False
        if self._ready_since is None:
            self._ready_since = self._clock()
        return (
            self._clock() - self._ready_since >= self._settings.publish_interval_s
            or sum(len(batch.records) for batch in finished) >= self._settings.publish_max_records
            or self._in_flight.room() <= 0
            or self._stopping.is_set()
            or bool(self._leaving)
        )

    async def _publish(self) -> None:
        batches = self._in_flight.finished(max_records=self._settings.publish_max_records)
        kept = [pair for batch in batches for pair in batch.kept()]
        outgoing = [result.outgoing for _, result in kept]
        offsets = next_offsets([record for record, _ in kept])
        dead_letters = sum(result.is_dead_letter for _, result in kept)
        self._runaway.check(num_records=len(kept), num_dead_letters=dead_letters)
        if kept:
            try:
                await self._broker(partial(self._connection.publish, outgoing, offsets))
            except BrokerUnavailableError:
                self._metrics.count("weir_commits_total", result="aborted")
                raise
            self._metrics.count("weir_commits_total", result="committed")
        self._in_flight.remove(batches)
        self._ready_since = self._troubled_since = None
        self._fencings = 0
        self._published += len(kept)
        self._runaway.observe(num_records=len(kept), num_dead_letters=dead_letters)
        for kind, number in (("moderated", len(kept) - dead_letters), ("dead_letter", dead_letters)):
            if number:
                self._metrics.count("weir_records_published_total", number, kind=kind)

    async def _drain(self) -> None:
        """Publish what is in flight, without taking in more, for as long as the settings allow."""
        deadline = self._clock() + self._settings.drain_timeout_s
        self._in_flight.lose_unstarted()
        while self._in_flight.num_records and self._clock() < deadline:
            await self._step(take_in=False)

    async def _wait_for_broker(self, error: BrokerUnavailableError) -> None:
        """Wait a little before the next try.

        Raises:
            BrokerUnavailableError: the broker has been away for longer than the settings allow.
        """
        now = self._clock()
        if self._troubled_since is None:
            self._troubled_since = now
        if now - self._troubled_since >= self._settings.retry_give_up_s:
            raise error
        _log.warning("broker is unavailable; trying again", reason=str(error))
        self._metrics.count("weir_batch_retries_total", error=type(error).__name__)
        pause_s = min(self._settings.retry_max_s, self._settings.retry_initial_s + (now - self._troubled_since) / 2)
        await asyncio.sleep(random.uniform(pause_s / 2, pause_s))

    def _abandon(self) -> None:
        if number := self._in_flight.abandon():
            self._metrics.count("weir_records_abandoned_total", number)
            _log.warning("records in flight were abandoned; they will be read again", records=number)
        self._ready_since = None

    async def _broker(self, call: Callable[[], T]) -> T:
        """Run a blocking call of the connection on the one thread that may make them."""
        return await asyncio.get_running_loop().run_in_executor(self._broker_thread, call)
