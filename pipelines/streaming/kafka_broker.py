"""The broker behind the port: Kafka, by kafka-python."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer  # type: ignore[import-untyped]  # no type information
from kafka import TopicPartition as KafkaTopicPartition
from kafka.admin import MemberToRemove  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka.errors import FencedInstanceIdError  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.broker import FencedError, OutgoingRecord, Record, TopicPartition
from pipelines.streaming.kafka_clients import (
    build,
    client_options,
    kafka_errors,
    member_id,
    member_options,
    producer_options,
    to_records,
    transaction_options,
)
from pipelines.streaming.kafka_membership import Membership, hold_rejoin
from pipelines.streaming.kafka_publishers import (
    AcknowledgedPublisher,
    NextOffsets,
    Publisher,
    TransactionalPublisher,
    kafka_offsets,
)
from pipelines.streaming.settings import KafkaSettings, StreamSettings

_STATIC_MEMBERS_SINCE = (2, 3)
_QUERY_TIMEOUT_S = 15.0
"""How long the broker may take to tell or to store offsets."""


def connect(kafka: KafkaSettings, stream: StreamSettings, *, member: str) -> "KafkaConnection":
    """Join the group as `member` and open the producer.

    The member's name is its identity: a second connection under it takes over from the first, which is fenced. Names
    must therefore differ between processes that run at the same time and stay the same over restarts.

    Raises:
        BrokerUnavailableError: no broker answered.
        ConfigurationError: kafka-python refuses the settings.
    """
    connection = KafkaConnection(kafka, stream, member=member)
    with kafka_errors(kafka):
        try:
            connection.open()
        except BaseException:
            connection.close(timeout_s=1.0)
            raise
    return connection


class KafkaConnection:
    """One member of a consumer group, with its producer. See `BrokerConnection` for the contract; made by `connect`.

    While the brokers are away `poll` returns nothing; `publish` and `lag` raise.
    """

    def __init__(self, kafka: KafkaSettings, stream: StreamSettings, *, member: str) -> None:
        self._kafka = kafka
        self._stream = stream
        self._member = member
        self._membership = Membership(drain_timeout_s=stream.drain_timeout_s, on_assigned=self._on_assigned)
        self._publisher = self._make_publisher()
        self._consumer: Any = None
        self._is_paused = False
        self._must_rewind = False
        self._is_evicted = False
        self._committed: dict[TopicPartition, int] = {}
        """What this member has committed since it holds the partition, or was told by the broker."""

    def open(self) -> None:
        """Connect. Called once, by `connect`.

        Raises:
            KafkaError: no broker answered.
        """
        # First, so that a transaction that this member's last process left open is over before its offsets are read.
        self._publisher.open()
        options = member_options(self._kafka, self._stream, member=self._member)
        options["partition_assignment_strategy"] = [self._membership.assignor]
        self._consumer = build(KafkaConsumer, options)
        hold_rejoin(self._consumer, self._membership)
        self._consumer.subscribe([self._stream.source_topic], listener=self._membership)

    def poll(self, *, timeout_s: float, max_records: int) -> list[Record]:
        """Return the next records of the assigned partitions."""
        with self._errors():
            self._membership.let_go_when_late()
            if self._must_rewind:
                self._seek_committed()
            return to_records(self._consumer.poll(timeout_ms=round(timeout_s * 1000), max_records=max_records))

    def pause(self) -> None:
        """Let `poll` return nothing until `resume`."""
        self._is_paused = True
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """Let `poll` return records again."""
        self._is_paused = False
        self._consumer.resume(*self._consumer.paused())

    def leaving(self) -> frozenset[TopicPartition]:
        """Return partitions that are about to be taken away."""
        return self._membership.leaving()

    def let_go(self) -> None:
        """Give up the partitions that `leaving` names."""
        self._membership.let_go()

    def lost(self) -> frozenset[TopicPartition]:
        """Return partitions that were taken away since the last call."""
        return self._membership.take_lost()

    def publish(self, records: Sequence[OutgoingRecord], next_offsets: Mapping[TopicPartition, int]) -> None:
        """Publish records and commit the offsets of what they were made from."""
        with self._errors():
            if taken := [partition for partition in next_offsets if not self._membership.is_held(partition)]:
                raise FencedError(f"partitions {sorted(taken)} are no longer ours")
            if records or next_offsets:
                self._publisher.publish(records, next_offsets)
                self._committed.update(next_offsets)

    def rewind(self) -> None:
        """Go back to the committed offsets; the next `poll` does it."""
        self._must_rewind = True

    def lag(self) -> dict[TopicPartition, int]:
        """Return the number of records between the committed offset and the end."""
        with self._errors():
            assigned = [KafkaTopicPartition(*partition) for partition in self._membership.assigned()]
            if not assigned:
                return {}
            ends = self._consumer.end_offsets(assigned, timeout_ms=round(_QUERY_TIMEOUT_S * 1000))
            return {
                TopicPartition(*partition): max(0, end - self._next_offset(TopicPartition(*partition)))
                for partition, end in sorted(ends.items())
            }

    def close(self, *, timeout_s: float) -> None:
        """Leave the group and close, without publishing or committing."""
        consumer, self._consumer = self._consumer, None
        # Even an error nobody foresaw must not keep the rest open, or the process from ending.
        if consumer is not None:
            with suppress(Exception):
                membership = consumer.group_metadata()
                consumer.close(autocommit=False, timeout_ms=round(timeout_s * 1000))
                self._leave(membership, timeout_s=timeout_s)
        self._publisher.close(timeout_s=timeout_s)

    def _make_publisher(self) -> Publisher:
        stream = self._stream
        timeout_s = stream.transaction_timeout_s
        if stream.delivery == "exactly_once":
            return TransactionalPublisher(
                options=transaction_options(self._kafka, stream, member=self._member),
                group_metadata=self._group_metadata,
                committed=self._fetch_committed,
                timeout_s=timeout_s,
            )
        return AcknowledgedPublisher(
            options=producer_options(self._kafka, record_max_bytes=stream.record_max_bytes, timeout_s=timeout_s),
            commit=self._commit,
            timeout_s=timeout_s,
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if self._is_evicted:
            raise FencedError(f"another process has taken the name {self._member!r}; this one must end")
        with kafka_errors(self._kafka):
            try:
                yield
            except FencedInstanceIdError:
                # For good: taking the name back would only fence the other one in turn.
                self._is_evicted = True
                raise

    def _on_assigned(self, assigned: Iterable[Any]) -> None:
        for partition in assigned:
            self._committed.pop(TopicPartition(*partition), None)
        if self._is_paused:
            self._consumer.pause(*assigned)

    def _group_metadata(self) -> Any:
        return self._consumer.group_metadata()

    def _commit(self, next_offsets: NextOffsets) -> None:
        self._consumer.commit(kafka_offsets(next_offsets), timeout_ms=round(_QUERY_TIMEOUT_S * 1000))

    def _fetch_committed(self, partition: TopicPartition) -> int | None:
        offset: int | None = self._consumer.committed(
            KafkaTopicPartition(*partition), timeout_ms=round(_QUERY_TIMEOUT_S * 1000)
        )
        return offset

    def _next_offset(self, partition: TopicPartition) -> int:
        """Return the committed offset, or where the group begins if there is none yet."""
        known = self._committed.get(partition)
        if known is None:
            known = self._fetch_committed(partition)
        if known is None:
            return self._first_offset(KafkaTopicPartition(*partition))
        self._committed[partition] = known
        return known

    def _first_offset(self, partition: Any) -> int:
        timeout_ms = round(_QUERY_TIMEOUT_S * 1000)
        if self._stream.auto_offset_reset == "earliest":
            return int(self._consumer.beginning_offsets([partition], timeout_ms=timeout_ms)[partition])
        return int(self._consumer.position(partition, timeout_ms=timeout_ms) or 0)

    def _seek_committed(self) -> None:
        for partition in self._consumer.assignment():
            offset = self._fetch_committed(TopicPartition(*partition))
            if offset is not None:
                self._consumer.seek(partition, offset)
            elif self._stream.auto_offset_reset == "earliest":
                self._consumer.seek_to_beginning(partition)
            else:
                self._consumer.seek_to_end(partition)
        self._must_rewind = False

    def _leave(self, membership: Any, *, timeout_s: float) -> None:
        """Let the group have this member's partitions now, and not only after the session timeout.

        A static member's consumer does not leave by itself. The member id is sent along, so that a member whose name
        was taken over does not put out its successor.

        Raises:
            KafkaError: no broker answered; the session timeout will do it.
        """
        if not membership.member_id or (self._kafka.api_version and self._kafka.api_version < _STATIC_MEMBERS_SINCE):
            return
        options = client_options(self._kafka, bootstrap_timeout_s=timeout_s)
        with closing(build(KafkaAdminClient, options)) as admin:
            admin.remove_group_members(
                self._stream.group,
                [
                    MemberToRemove(
                        member_id=membership.member_id, group_instance_id=member_id(self._stream, self._member)
                    )
                ],
            )
