"""Puts dead letters back into the topics they came from, each once, also over interruptions."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipelines.streaming.broker import BrokerConnection, OutgoingRecord, Record, TopicPartition
from pipelines.streaming.dead_letter import replayed
from pipelines.streaming.in_flight import next_offsets
from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.errors import BrokerUnavailableError

_POLL_S = 0.25
_BATCH_RECORDS = 500


@dataclass(slots=True)
class ReplayCount:
    """What a replay did."""

    replayed: int = 0
    passed_over: int = 0
    """Not asked for."""
    impossible: int = 0
    """Without a value, or no dead letters of Weir."""


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
    is_wanted: Callable[[Record], bool],
    on_progress: Callable[[ReplayCount], None],
    quiet_s: float = 5.0,
    join_timeout_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
) -> ReplayCount:
    """Replay the dead letters before `ends` that no earlier replay has handled.

    A letter that is passed over counts as handled.

    Args:
        connection: reads the dead-letter topic.
        ends: where to stop, per partition: what fails again must not be replayed for ever.
        is_wanted: tells which letters to replay.
        on_progress: told the counts now and then.
        quiet_s: the replay is over when nothing came for so long, once the group has given us the topic.
        join_timeout_s: how long that may take.
        clock: monotonic seconds.

    Raises:
        BrokerUnavailableError: the broker went away, or did not let us in; what is done is done, a further replay goes
            on from there.
    """
    count = ReplayCount()
    started = heard_at = clock()
    has_joined = False
    while clock() - heard_at < quiet_s:
        records = connection.poll(timeout_s=_POLL_S, max_records=_BATCH_RECORDS)
        if not has_joined:
            has_joined = bool(records) or bool(connection.lag())
            if not has_joined and clock() - started > join_timeout_s:
                raise BrokerUnavailableError(f"the group gave us no partition within {join_timeout_s:.0f} s")
            heard_at = clock()
        records = [record for record in records if record.offset < ends.get(record.source, 0)]
        if records:
            outgoing = [letter for record in records if (letter := _letter(record, is_wanted, count)) is not None]
            connection.publish(outgoing, next_offsets(records))
            count.replayed += len(outgoing)
            on_progress(count)
            heard_at = clock()
    return count


def _letter(record: Record, is_wanted: Callable[[Record], bool], count: ReplayCount) -> OutgoingRecord | None:
    if not is_wanted(record):
        count.passed_over += 1
        return None
    try:
        return replayed(record)
    except ValueError:
        count.impossible += 1
        return None
