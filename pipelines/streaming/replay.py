"""Puts dead letters back into the topics they came from, each once, also over interruptions."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import structlog

from pipelines.streaming.broker import BrokerConnection, OutgoingRecord, Record, RefusedRecordsError, TopicPartition
from pipelines.streaming.dead_letter import replayed
from pipelines.streaming.publication import next_offsets
from pipelines.streaming.replayed_places import ReplayedPlaces
from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.errors import BrokerUnavailableError

_log = structlog.get_logger(__name__)

_POLL_S = 0.25
_BATCH_RECORDS = 500


@dataclass(slots=True)
class ReplayCount:
    """What a replay did."""

    replayed: int = 0
    passed_over: int = 0
    """Not asked for."""
    impossible: int = 0
    """Not whole, no dead letters of Weir, of a topic that is gone, or refused by the broker; the log says which."""


def replay_settings(stream: StreamSettings) -> StreamSettings:
    """Return the settings of the connection that replays the dead letters of a stream: it has a group of its own."""
    return stream.model_copy(
        update={
            "source_topic": stream.dead_letters.topic,
            "group": f"{stream.group}.dead-letters",
            "auto_offset_reset": "earliest",
        }
    )


def replay(
    connection: BrokerConnection,
    ends: Mapping[TopicPartition, int],
    *,
    places: ReplayedPlaces,
    replayed_before: Mapping[TopicPartition, int],
    num_partitions: Callable[[str], int],
    is_wanted: Callable[[Record], bool],
    on_progress: Callable[[ReplayCount], None],
    quiet_s: float = 5.0,
    join_timeout_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
) -> ReplayCount:
    """Replay the dead letters before `ends` that no earlier replay has handled.

    A letter that is passed over, or that cannot go back, counts as handled; of the latter the log says why.

    Args:
        connection: reads the dead-letter topic.
        ends: where to stop, per partition: what fails again must not be replayed for ever.
        places: keeps how far this replay has got.
        replayed_before: what they say of earlier ones, read since the connection was made.
        num_partitions: tells how many partitions a topic has; 0 where there is none of that name.
        is_wanted: tells which letters to replay.
        on_progress: told the counts now and then.
        quiet_s: the replay is over when nothing came for so long, once the group has given us the topic.
        join_timeout_s: how long that may take.
        clock: monotonic seconds.

    Raises:
        BrokerUnavailableError: the broker went away, or did not let us in; what is done is done, a further replay goes
            on from there.
    """
    letterbox = _Letterbox(connection, places, num_partitions, is_wanted)
    started = heard_at = clock()
    has_joined = False
    while clock() - heard_at < quiet_s:
        polled = connection.poll(timeout_s=_POLL_S, max_records=_BATCH_RECORDS)
        if not has_joined:
            has_joined = bool(polled) or bool(connection.lag())
            if not has_joined and clock() - started > join_timeout_s:
                raise BrokerUnavailableError(f"the group gave us no partition within {join_timeout_s:.0f} s")
            heard_at = clock()
        due = [letter for letter in polled if letter.offset < ends.get(letter.source, 0)]
        if letters := [letter for letter in due if letter.offset >= replayed_before.get(letter.source, 0)]:
            letterbox.put_back(letters)
            on_progress(letterbox.count)
        if due:
            heard_at = clock()
    return letterbox.count


class _Letterbox:
    """Puts letters back as they come, and counts them."""

    def __init__(
        self,
        connection: BrokerConnection,
        places: ReplayedPlaces,
        num_partitions: Callable[[str], int],
        is_wanted: Callable[[Record], bool],
    ) -> None:
        self._connection = connection
        self._places = places
        self._num_partitions = cache(num_partitions)
        self._is_wanted = is_wanted
        self.count = ReplayCount()

    def put_back(self, letters: Sequence[Record]) -> None:
        """Publish what can go back of some letters; all of them are handled then."""
        wanted = [letter for letter in letters if self._is_wanted(letter)]
        self.count.passed_over += len(letters) - len(wanted)
        back = [(letter, record) for letter in wanted if (record := self._record_of(letter)) is not None]
        offsets = next_offsets(letters)
        while refused := self._publish([record for _, record in back], offsets):
            guilty = {id(record) for record in refused.records}
            kept = [pair for pair in back if id(pair[1]) not in guilty]
            if len(kept) == len(back):
                raise refused
            for letter, record in back:
                if id(record) in guilty:
                    self._note_impossible(letter, refused.reason)
            back = kept
        self.count.replayed += len(back)

    def _publish(
        self, records: Sequence[OutgoingRecord], offsets: Mapping[TopicPartition, int]
    ) -> RefusedRecordsError | None:
        """Publish records with the places that they lead to; return what the broker refused instead, if it did."""
        try:
            self._connection.publish([*records, *self._places.written(offsets)], offsets)
        except RefusedRecordsError as error:
            return error
        return None

    def _record_of(self, letter: Record) -> OutgoingRecord | None:
        """Return the record to put back, into its old partition if its topic has that; None if it cannot go back."""
        try:
            record = replayed(letter)
        except ValueError as error:
            self._note_impossible(letter, str(error))
            return None
        there = self._num_partitions(record.topic)
        if there == 0:
            self._note_impossible(letter, f"there is no topic {record.topic}")
            return None
        return record if record.partition is None or record.partition < there else replace(record, partition=None)

    def _note_impossible(self, letter: Record, reason: str) -> None:
        self.count.impossible += 1
        _log.warning(
            "dead letter cannot be replayed", partition=letter.source.partition, offset=letter.offset, reason=reason
        )
