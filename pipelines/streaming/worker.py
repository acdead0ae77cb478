"""The streaming worker: reads records, has micro-batches of them moderated, publishes results in order."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from pipelines.streaming.broker import BrokerConnection, FencedError, RefusedRecordsError, TopicPartition
from pipelines.streaming.fencings import Fencings
from pipelines.streaming.in_flight import InFlight
from pipelines.streaming.lanes import Entry
from pipelines.streaming.polling import Poller
from pipelines.streaming.processing import RecordProcessor
from pipelines.streaming.publication import Publication, convict
from pipelines.streaming.published_events import PublishedEvents
from pipelines.streaming.runaway_limit import RunawayDeadLettersError, RunawayLimit
from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.errors import BrokerUnavailableError
from protector_models.moderation.ports import Metrics
from services.patience import Outage, Patience, report_batch_retries

_log = structlog.get_logger(__name__)

_IDLE_POLL_S = 0.25
_BUSY_POLL_S = 0.02

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """What a worker is doing, for health checks and progress."""

    records_read: int
    records_published: int
    records_in_flight: int
    seconds_since_poll: float
    """A worker that does not poll for long is stuck."""
    is_runaway: bool
    """Whether nothing is published, since nearly everything became a dead letter, until a probe is better."""


class StreamWorker:
    """Moves records from the source topic through a Moderator to the sink topic.

    One coroutine makes all decisions; calls to the broker block a thread of its own; moderation runs as tasks beside
    it.

    Laws (held by tests): every record read ends as one moderated conversation or one dead letter, but for events that
    were published before, where the settings have them remembered; per partition they are published in offset order; an
    offset is committed only with everything before it; what is abandoned is read again.
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
        self._poller = Poller(connection)
        self._processor = processor
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._published_events = PublishedEvents(per_partition=settings.deduplicate_event_ids)
        self._in_flight = InFlight(
            settings=settings,
            decide=partial(processor.decide, published=self._published_events),
            rewrite=processor.rewrite,
        )
        self._unanswered: Sequence[Entry] = ()
        """What the broker was asked to publish without telling what became of it."""
        self._runaway = RunawayLimit(settings.dead_letters, clock=clock)
        self._broker_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker")
        self._stopping = asyncio.Event()
        self._is_closed = False
        self._ready_since: float | None = None
        begin_outage = partial(
            Outage,
            Patience.from_settings(settings),
            clock=clock,
            report=report_batch_retries(_log, "broker is unavailable; trying again", metrics),
        )
        # One each: what answers the polls may still refuse to publish, and nobody publishes while models are at work.
        self._reading, self._publishing = begin_outage(), begin_outage()
        self._fencings = Fencings(clock=clock)
        self._leaving: frozenset[TopicPartition] = frozenset()
        self._was_idle = False
        """Whether the last poll brought nothing."""
        self._polled_at = clock()
        self._num_read = 0
        self._published = 0

    def stop(self) -> None:
        """Ask `run` to drain and return. May be called twice, from the event loop's thread."""
        self._stopping.set()

    def status(self) -> WorkerStatus:
        """Return what the worker is doing. Does not block."""
        return WorkerStatus(
            records_read=self._num_read,
            records_published=self._published,
            records_in_flight=self._in_flight.num_records,
            seconds_since_poll=self._clock() - self._polled_at,
            is_runaway=self._runaway.is_probing,
        )

    async def lag(self) -> dict[TopicPartition, int]:
        """Return, for each of our partitions, how many records wait to be moderated.

        Raises:
            BrokerUnavailableError: the broker cannot be reached for now, or the connection is given up.
        """
        if self._is_closed:
            raise BrokerUnavailableError("the connection is given up, as the worker ends")
        return await self._broker(self._connection.lag)

    async def run(self) -> None:
        """Work until `stop` is called, then drain and close the connection.

        Raises:
            RunawayDeadLettersError: too many records became dead letters, and the settings say to stay stopped then.
            FencedError: another process has this member's place for good.
            DependencyError: a model or the broker stayed away for longer than the settings allow.
        """
        try:
            while not self._stopping.is_set():
                await self._step(take_in=True)
            await self._drain()
        finally:
            self._abandon()
            self._is_closed = True
            try:
                await self._broker(partial(self._connection.close, timeout_s=self._settings.drain_timeout_s))
            finally:
                self._broker_thread.shutdown(wait=False)

    async def _step(self, *, take_in: bool) -> None:
        """Poll once, start what was read, publish what is due."""
        outage = self._reading
        try:
            await self._read(room=self._room() if take_in else 0)
            outage.end()
            outage = self._publishing
            finished = self._in_flight.finished()
            if self._is_due(finished):
                await self._publish(finished)
            if self._ready_since is None:
                outage.end()
        except FencedError as error:
            self._fencings.count(error)
            _log.warning("partitions moved; what is in flight is dropped and read again", reason=str(error))
            self._start_over()
            await outage.sit_out(error)
        except RunawayDeadLettersError as error:
            self._metrics.count("weir_runaway_stops_total")
            self._runaway.sit_out(error)
            _log.error("nothing more is published until a probe is better", reason=str(error))
            self._start_over()
        except BrokerUnavailableError as error:
            await outage.sit_out(error)

    def _room(self) -> int:
        """Return how many records may be read now."""
        if self._runaway.is_waiting:
            return 0
        room = self._in_flight.room()
        if self._runaway.is_probing:
            return min(room, self._settings.batch_max_records - self._in_flight.num_records)
        return room

    async def _read(self, *, room: int) -> None:
        """Ask the broker for at most `room` records, and take in what came; with no room, only stay in the group.

        Nothing can fail between the poll and the taking in, and no other call to the broker comes between the poll and
        the question what was lost: the connection does not give a record twice unless it is rewound.
        """
        timeout_s = _IDLE_POLL_S if self._in_flight.num_records == 0 else _BUSY_POLL_S
        polled = await self._broker(partial(self._poller.poll, room=room, timeout_s=timeout_s))
        self._polled_at = self._clock()
        # Before the new records are in flight: of a partition that went and came back, they are the ones to keep.
        num_dropped = self._in_flight.lose(polled.lost)
        self._published_events.forget(polled.lost)
        self._in_flight.add(polled.records)
        num_dropped += self._in_flight.lose_waiting(polled.leaving)
        self._leaving = polled.leaving
        self._was_idle = not polled.records
        if polled.records:
            self._num_read += len(polled.records)
            self._metrics.count("weir_records_read_total", len(polled.records))
        self._tell_abandoned(num_dropped, "partitions moved with records in flight; they will be read again")
        if polled.leaving and not self._in_flight.holds(polled.leaving):
            await self._broker(self._connection.let_go)

    def _is_due(self, finished: Sequence[Entry]) -> bool:
        """Tell whether what is finished shall be published now."""
        if not finished:
            self._ready_since = None
            return False
        if self._ready_since is None:
            self._ready_since = self._clock()
        if self._runaway.is_probing:  # a probe is looked at as a whole
            return self._in_flight.is_finished() and (self._room() <= 0 or self._was_idle)
        return (
            self._clock() - self._ready_since >= self._settings.publish_interval_s
            or len(finished) >= self._settings.publish_max_records
            or self._in_flight.room() <= 0
            or self._stopping.is_set()
            or bool(self._leaving)
        )

    async def _publish(self, finished: Sequence[Entry]) -> None:
        """Publish what is finished, with dead letters in place of what the broker refuses.

        Raises:
            BrokerUnavailableError: see `BrokerConnection.publish`.
            RunawayDeadLettersError: too many of these are dead letters.
        """
        # The same as before where the broker did not answer: it may have been carried out.
        is_same = bool(self._unanswered) and all(entry.is_wanted for entry in self._unanswered)
        self._unanswered = self._unanswered if is_same else finished
        while refused := await self._publish_entries(self._unanswered):
            convict(self._unanswered, refused, self._processor.refused)
        self._unanswered = ()
        self._ready_since = None
        self._fencings.forget()

    async def _publish_entries(self, entries: Sequence[Entry]) -> RefusedRecordsError | None:
        """Publish finished entries and take them out; return what the broker refused instead, if it did."""
        publication = Publication.of(entries, self._published_events)
        num_records, num_dead_letters = len(entries), publication.num_dead_letters
        if self._runaway.is_probing:  # by the whole of it, however much of it goes into one transaction
            self._runaway.check(
                num_records=self._in_flight.num_records, num_dead_letters=self._in_flight.num_dead_letters()
            )
        else:
            self._runaway.check(num_records=num_records, num_dead_letters=num_dead_letters)
        try:
            await self._broker(partial(self._connection.publish, publication.outgoing(), publication.next_offsets()))
        except RefusedRecordsError as error:
            self._metrics.count("weir_commits_total", result="aborted")
            return error
        except BrokerUnavailableError:
            self._metrics.count("weir_commits_total", result="aborted")
            raise
        self._metrics.count("weir_commits_total", result="committed")
        self._in_flight.remove(entries)
        self._published += num_records
        self._runaway.observe(num_records=num_records, num_dead_letters=num_dead_letters)
        publication.take_note(self._published_events, self._metrics)
        return None

    async def _drain(self) -> None:
        """Publish what is in flight, without taking in more, for as long as the settings allow."""
        deadline = self._clock() + self._settings.drain_timeout_s
        number = self._in_flight.lose_waiting()
        self._tell_abandoned(number, "records that wait are left to be read again, as this worker drains")
        while self._in_flight.num_records and self._clock() < deadline:
            await self._step(take_in=False)

    def _start_over(self) -> None:
        """Drop what is in flight; the next poll begins at the committed offsets."""
        # First, so that nothing that fails on the way to the next poll can leave records behind.
        self._poller.rewind()
        self._abandon()

    def _abandon(self) -> None:
        self._tell_abandoned(self._in_flight.abandon(), "records in flight were abandoned; they will be read again")
        self._ready_since, self._unanswered = None, ()

    def _tell_abandoned(self, number: int, words: str) -> None:
        """Count and log records that are read again, if there are any."""
        if number:
            self._metrics.count("weir_records_abandoned_total", number)
            _log.warning(words, records=number)

    async def _broker(self, call: Callable[[], T]) -> T:
        """Run a blocking call of the connection on the one thread that may make them."""
        return await asyncio.get_running_loop().run_in_executor(self._broker_thread, call)
