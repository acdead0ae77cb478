"""Where a new group begins that shall read what comes, and not what is there: committed before anything is read.

Left to itself a consumer that "resets to the latest" has a place in its memory alone until it commits for the first
time: what comes to a partition until then, or while nobody reads it, its successor does not see.

So the place of every partition is committed at once, by the one member that has partition 0, if no partition has any;
the others wait for that. A partition that has none although another one has was added to the topic of a group that
reads it: it begins with its first record. As all are committed in one request, nobody takes one for the other.
"""

from collections.abc import Set
from contextlib import suppress
from typing import Any

from kafka import TopicPartition as KafkaTopicPartition  # type: ignore[import-untyped]  # no type information
from kafka.errors import (  # type: ignore[import-untyped]  # kafka-python ships no type information
    CommitFailedError,
    KafkaTimeoutError,
    RebalanceInProgressError,
)

from pipelines.streaming.broker import TopicPartition
from pipelines.streaming.kafka.publishers import kafka_offsets


class FirstOffsets:
    """Gives a group that begins at the end of a topic its place. One thread uses it."""

    def __init__(self, consumer: Any, topic: str, *, timeout_s: float) -> None:
        """Let a consumer, which is not subscribed yet, have no position but a committed one.

        Args:
            consumer: a member of the group, whose offsets go to the earliest where they are out of range.
            topic: what it will read.
            timeout_s: how long the broker may take for an answer.
        """
        self._consumer = consumer
        self._topic = topic
        self._timeout_ms = round(timeout_s * 1000)
        # Called for partitions without a committed offset; now each poll asks for it again until it is there.
        consumer._subscription.reset_missing_positions = _leave_alone

    def commit(self) -> None:
        """Commit where to begin with partitions that have no place, if it is for this member to say; else do nothing.

        Called before each poll, and does nothing as well while the group shares its partitions out anew.

        Raises:
            KafkaError: the broker refuses for another reason.
        """
        missing = self._consumer._subscription.missing_fetch_positions()
        if missing:
            with suppress(CommitFailedError, KafkaTimeoutError, RebalanceInProgressError):
                self._commit(missing)

    def _commit(self, missing: Set[Any]) -> None:
        numbers = self._consumer.partitions_for_topic(self._topic)
        partitions = [KafkaTopicPartition(self._topic, number) for number in sorted(numbers)]
        committed = self._consumer._coordinator.fetch_committed_offsets(partitions, timeout_ms=self._timeout_ms)
        if committed:
            begin = self._consumer.beginning_offsets(list(missing - committed.keys()), timeout_ms=self._timeout_ms)
        elif partitions[0] in missing:
            begin = self._consumer.end_offsets(partitions, timeout_ms=self._timeout_ms)
        else:
            return
        offsets = kafka_offsets({TopicPartition(*partition): offset for partition, offset in begin.items()})
        if offsets:
            self._consumer.commit(offsets, timeout_ms=self._timeout_ms)


def _leave_alone() -> None:
    """Leave partitions without a position as they are."""
