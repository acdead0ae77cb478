"""The broker behind the port: Kafka, by kafka-python."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer  # type: ignore[import-untyped]  # no type information
from kafka import TopicPartition as KafkaTopicPartition
from kafka.admin import MemberToRemove  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka.errors import FencedInstanceIdError  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.broker import FencedError, OutgoingRecord, Record, TopicPartition
from pipelines.streaming.kafka.clients import (
    build,
    client_options,
    kafka_errors,
    member_id,
    member_options,
    producer_options,
    to_records,
    transaction_options,
)
from pipelines.streaming.kafka.first_offsets import FirstOffsets
from pipelines.streaming.kafka.membership import Membership, govern_joining
from pipelines.streaming.kafka.publishers import (
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
_FIRST_OFFSETS_TIMEOUT_S = 5.0
_POSITION_TIMEOUT_MS = 500


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
        self._first_offsets: FirstOffsets | None = None
        self._is_paused = False
        self._is_evicted = False
        self._committed: dict[TopicPartition, int] = {}
        """The committed offsets of partitions that gave records: only their holder commits, so it need not ask.

        Asking would have to wait for a rebalance: the broker answers a connection's requests in order, and holds back
        the answer to a join until all members have joined.
        """

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
        govern_joining(self._consumer, self._membership)
        if self._stream.auto_offset_reset == "latest":
            self._first_offsets = FirstOffsets(
                self._consumer, self._stream.source_topic, timeout_s=_FIRST_OFFSETS_TIMEOUT_S
            )
        self._consumer.subscribe([self._stream.source_topic], listener=self._membership)

    def poll(self, *, timeout_s: float, max_records: int) -> list[Record]:
        """Return the next records of the assigned partitions."""
        with self._errors():
            self._membership.let_go_when_late()
            if self._first_offsets is not None:
                self._first_offsets.commit()
            fetched = self._poll(timeout_s=timeout_s, max_records=max_records)
        for partition, records in fetched.items():
            # The first record of a partition is where the group had got to when we were given it.
            self._committed.setdefault(TopicPartition(*partition), records[0].offset)
        return to_records(fetched)

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
        """Go back to the committed offsets."""
        for partition in self._membership.assigned() & self._committed.keys():
            self._consumer.seek(KafkaTopicPartition(*partition), self._committed[partition])

    def lag(self) -> dict[TopicPartition, int]:
        """Return the number of records between the committed offset and the end.

        Partitions that were given to us so recently that the broker has not said where to begin are left out.
        """
        with self._errors():
            begin = {partition: self._next_offset(partition) for partition in sorted(self._membership.assigned())}
            known = {
                KafkaTopicPartition(*partition): offset for partition, offset in begin.items() if offset is not None
            }
            ends = self._consumer.end_offsets(list(known), timeout_ms=round(_QUERY_TIMEOUT_S * 1000)) if known else {}
            return {TopicPartition(*partition): max(0, ends[partition] - offset) for partition, offset in known.items()}

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

    def _poll(self, *, timeout_s: float, max_records: int) -> dict[Any, list[Any]]:
        """Poll the consumer; where that raises, let it read again what it has taken out and not returned.

        kafka-python 3.0.12 goes on as soon as it has taken records out, and asks for more: where that fails, they are
        gone.
        """
        partitions = self._consumer._subscription.assignment
        before = {partition: (state, state.position) for partition, state in partitions.items()}
        try:
            fetched: dict[Any, list[Any]] = self._consumer.poll(
                timeout_ms=round(timeout_s * 1000), max_records=max_records
            )
        except BaseException:
            for partition, state in partitions.items():
                held, position = before.get(partition, (None, None))
                # A partition that went and came back has another state: others may have committed less, or more.
                _go_back(state, position if held is state else None)
            raise
        return fetched

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
        if offset is not None and partition in self._committed:
            self._committed[partition] = offset
        return offset

    def _next_offset(self, partition: TopicPartition) -> int | None:
        """Return the committed offset; of a partition that gave no record yet, where it will begin."""
        known = self._committed.get(partition)
        if known is not None:
            return known
        position: int | None = self._consumer.position(KafkaTopicPartition(*partition), timeout_ms=_POSITION_TIMEOUT_MS)
        return position

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


def _go_back(state: Any, position: Any) -> None:
    """Let a partition be read from where it was; None: from where its group has got to."""
    if state.position != position:
        state.seek(0 if position is None else position)
        if position is None:
            state._position = None  # as of a partition that was assigned just now
