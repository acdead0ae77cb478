"""The two ways in which a connection publishes to Kafka: exactly once, by transactions, or at least once."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kafka import KafkaProducer, OffsetAndMetadata  # type: ignore[import-untyped]  # no type information
from kafka import TopicPartition as KafkaTopicPartition
from kafka.errors import (  # type: ignore[import-untyped]  # kafka-python ships no type information
    KafkaError,
    KafkaTimeoutError,
)

from pipelines.streaming.broker import FencedError, OutgoingRecord, RefusedRecordsError, TopicPartition
from pipelines.streaming.kafka.clients import Options, build, close_producer
from pipelines.streaming.kafka.sending import Sending

NextOffsets = Mapping[TopicPartition, int]

_ABORT_TIMEOUT_S = 10.0


class Publisher(Protocol):
    """Publishes records and commits offsets. Raises kafka-python's errors; one thread makes all calls."""

    def open(self) -> None:
        """Connect.

        Raises:
            KafkaError: no broker answered.
        """

    def publish(self, records: Sequence[OutgoingRecord], next_offsets: NextOffsets) -> None:
        """See `BrokerConnection.publish`."""

    def close(self, *, timeout_s: float) -> None:
        """Close it. Never raises."""


class TransactionalPublisher:
    """Records and offsets in one transaction.

    After an error that it cannot abort its way out of, the next call begins with a new producer under the same
    transactional id: that ends whatever the old one has left behind.
    """

    def __init__(
        self,
        *,
        options: Options,
        group_metadata: Callable[[], Any],
        committed: Callable[[TopicPartition], int | None],
        timeout_s: float,
    ) -> None:
        """Prepare it; `open` connects.

        Args:
            options: of the producer.
            group_metadata: gives the membership with which the broker checks that the offsets are ours to commit.
            committed: gives the group's committed offset, waiting for open transactions to end.
            timeout_s: how long a publish may take.
        """
        self._options = options
        self._group_metadata = group_metadata
        self._committed = committed
        self._timeout_s = timeout_s
        self._producer: Any = None
        self._in_doubt: dict[TopicPartition, int] = {}
        """Offsets of a transaction whose commit was asked for and never answered."""

    def open(self) -> None:
        """Connect, and end the transaction that an earlier process of this name may have left open."""
        producer = build(KafkaProducer, self._options)
        try:
            producer.init_transactions()
        except BaseException:
            close_producer(producer, timeout_s=0)
            raise
        self._producer = producer

    def publish(self, records: Sequence[OutgoingRecord], next_offsets: NextOffsets) -> None:
        """Publish all or nothing."""
        if self._producer is None:
            self.open()
        if self._in_doubt and self._was_committed(next_offsets):
            return
        deadline = time.monotonic() + self._timeout_s
        transactions = self._producer._transaction_manager
        try:
            self._fill(records, next_offsets, deadline=deadline)
        except RefusedRecordsError:
            self._abort()
            # A producer has counted what the broker has not, once a batch was refused.
            self._drop_producer()
            raise
        except KafkaError as error:
            # What the transaction failed of; `error` may only say that it had failed before.
            cause = transactions.last_error or error
            self._abort()
            raise cause from error
        except BaseException:
            self._drop_producer()
            raise
        try:
            self._commit(next_offsets, deadline=deadline)
        except KafkaError as error:
            cause = transactions.last_error or error
            if transactions.has_abortable_error():
                self._in_doubt = {}
                self._abort()
            else:
                self._drop_producer()
            raise cause from error
        except BaseException:
            self._drop_producer()
            raise

    def close(self, *, timeout_s: float) -> None:
        """Close the producer; an open transaction stays for the next process of this name to end."""
        if self._producer is not None:
            close_producer(self._producer, timeout_s=timeout_s)
            self._producer = None

    def _fill(self, records: Sequence[OutgoingRecord], next_offsets: NextOffsets, *, deadline: float) -> None:
        producer = self._producer
        producer.begin_transaction()
        request = None
        with Sending(producer) as sending:
            sending.send(records)
            if next_offsets:
                offsets = kafka_offsets(next_offsets)
                request = producer._transaction_manager.send_offsets_to_transaction(offsets, self._group_metadata())
            # A commit is no proof: kafka-python 3.0.12 commits without the records that could not be sent in time.
            sending.wait(deadline=deadline)
        if request is not None:
            self._wait(request, deadline=deadline)

    def _commit(self, next_offsets: NextOffsets, *, deadline: float) -> None:
        request = self._producer._transaction_manager.begin_commit()
        self._in_doubt = dict(next_offsets)
        self._wait(request, deadline=deadline)
        self._in_doubt = {}

    def _abort(self) -> None:
        """Abort the transaction, or drop a producer that cannot even do that."""
        try:
            request = self._producer._transaction_manager.begin_abort()
            self._wait(request, deadline=time.monotonic() + min(_ABORT_TIMEOUT_S, self._timeout_s))
        except KafkaError:
            self._drop_producer()

    def _wait(self, request: Any, *, deadline: float) -> None:
        """Wait for the broker's answer.

        The producer's own methods wait without a limit, so this asks its transaction manager as they do.
        """
        self._producer._sender.wakeup()
        if not request.wait(timeout_ms=max(0.0, deadline - time.monotonic()) * 1000):
            raise KafkaTimeoutError(f"no answer to a transaction within {self._timeout_s:.0f} s")

    def _drop_producer(self) -> None:
        self.close(timeout_s=0)

    def _was_committed(self, next_offsets: NextOffsets) -> bool:
        """Find out what became of a commit that was never answered, now that a new producer has ended it.

        It was carried out for all its partitions or for none. Those that this call still has were ours all the time,
        so they tell which; others may have gone to a member that has committed more since.

        Raises:
            FencedError: it was carried out, but this call asks for something else; or this call has none of its
                partitions, so that nobody can tell.
        """
        # All are asked for, since the connection takes note of the answers for its next rewind.
        committed = {partition: self._committed(partition) for partition in self._in_doubt}
        in_doubt, self._in_doubt = self._in_doubt, {}
        telling = in_doubt.keys() & next_offsets.keys()
        if not telling:
            raise FencedError("an earlier publish may have been committed; read again from the committed offsets")
        if any((committed[partition] or 0) < in_doubt[partition] for partition in telling):
            return False
        if any(in_doubt.get(partition) != offset for partition, offset in next_offsets.items()):
            raise FencedError("an earlier publish was committed after all; read again from the committed offsets")
        return True


class AcknowledgedPublisher:
    """First the records, and when all are acknowledged, the offsets: a crash in between publishes records twice."""

    def __init__(self, *, options: Options, commit: Callable[[NextOffsets], None], timeout_s: float) -> None:
        """Prepare it; `open` connects.

        Args:
            options: of the producer.
            commit: commits offsets for the group.
            timeout_s: how long the acknowledgements may take.
        """
        self._options = options
        self._commit = commit
        self._timeout_s = timeout_s
        self._producer: Any = None
        self._acknowledged: list[OutgoingRecord] = []
        """Records that are published although committing their offsets failed."""

    def open(self) -> None:
        """See `Publisher`."""
        self._producer = build(KafkaProducer, self._options)

    def publish(self, records: Sequence[OutgoingRecord], next_offsets: NextOffsets) -> None:
        """Publish, then commit. A call that repeats one whose commit failed sends only what is new in it."""
        num_acknowledged = len(self._acknowledged)
        if list(records[:num_acknowledged]) != self._acknowledged:
            num_acknowledged = 0
        if self._producer is None:
            self.open()
        try:
            with Sending(self._producer) as sending:
                sending.send(records[num_acknowledged:])
                sending.wait(deadline=time.monotonic() + self._timeout_s)
        except BaseException:
            # An idempotent producer that could not send in time may have lost count of what the broker has.
            self.close(timeout_s=0)
            raise
        self._acknowledged = list(records)
        if next_offsets:
            self._commit(next_offsets)
        self._acknowledged = []

    def close(self, *, timeout_s: float) -> None:
        """Close the producer."""
        if self._producer is not None:
            close_producer(self._producer, timeout_s=timeout_s)
            self._producer = None


def kafka_offsets(next_offsets: NextOffsets) -> dict[Any, Any]:
    """Return offsets as kafka-python takes them."""
    return {
        KafkaTopicPartition(*partition): OffsetAndMetadata(offset, "", -1) for partition, offset in next_offsets.items()
    }
