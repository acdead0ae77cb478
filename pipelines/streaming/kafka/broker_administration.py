"""Administration of the broker's topics: creating, measuring, reading, filling them. No group, no transactions."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer  # type: ignore[import-untyped]  # no type information
from kafka import TopicPartition as KafkaTopicPartition
from kafka.errors import (  # type: ignore[import-untyped]  # kafka-python ships no type information
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from pipelines.streaming.broker import OutgoingRecord, Record, TopicPartition
from pipelines.streaming.kafka.clients import (
    build,
    client_options,
    close_producer,
    consumer_options,
    kafka_errors,
    producer_options,
    to_records,
)
from pipelines.streaming.kafka.sending import send_record
from pipelines.streaming.settings import KafkaSettings
from protector_models.moderation.errors import BrokerUnavailableError

_TIMEOUT_S = 60.0
_POLL_MS = 200
_POLL_MAX_RECORDS = 2_000
_RECORD_MAX_BYTES = 16_000_000
_NO_TOPIC = (InvalidTopicError, UnknownTopicOrPartitionError)
"""What a broker answers of a name that no topic has, or can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDescription:
    """What a broker tells of a topic."""

    topic_id: str
    """Another one where a topic was deleted and made anew; empty where the broker gives no ids."""
    num_partitions: int
    replication_factor: int


def is_answering(kafka: KafkaSettings, *, timeout_s: float = 5.0) -> bool:
    """Return whether a broker answers within about `timeout_s`."""
    try:
        with kafka_errors(kafka), closing(_admin(kafka, timeout_s=timeout_s)) as admin:
            admin.describe_cluster()
    except BrokerUnavailableError:
        return False
    return True


def ensure_topics(
    kafka: KafkaSettings,
    topics: Mapping[str, int],
    *,
    replication_factor: int = 1,
    configs: Mapping[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> None:
    """Create the topics, name to number of partitions, that are not there yet; those that are stay as they are.

    Args:
        kafka: the brokers.
        topics: the topics.
        replication_factor: of the new ones.
        configs: of the new ones, where they are not the broker's.
        timeout_s: how long they may take.

    Raises:
        BrokerUnavailableError: the broker is away, or refuses to create them.
    """
    with kafka_errors(kafka), closing(_admin(kafka, timeout_s=timeout_s)) as admin:
        there = _descriptions(admin, topics)
        options = {"replication_factor": replication_factor, "configs": dict(configs or {})}
        missing = {name: {"num_partitions": number, **options} for name, number in topics.items() if name not in there}
        if not missing:
            return
        answer = admin.create_topics(missing, timeout_ms=round(timeout_s * 1000), raise_errors=False)
        for topic in answer["topics"]:
            error = for_code(topic["error_code"])
            # Another process may have been quicker: that is what was wanted.
            if error not in (NoError, TopicAlreadyExistsError):
                raise error(f"topic {topic['name']}: {topic.get('error_message')}")
        admin.wait_for_topics(list(missing), timeout_ms=round(timeout_s * 1000))


def missing_topics(kafka: KafkaSettings, topics: Sequence[str], *, timeout_s: float = _TIMEOUT_S) -> list[str]:
    """Return which of the topics are not there.

    Raises:
        BrokerUnavailableError: the broker is away.
    """
    descriptions = describe_topics(kafka, topics, timeout_s=timeout_s)
    return [name for name in topics if name not in descriptions]


def describe_topics(
    kafka: KafkaSettings, topics: Sequence[str], *, timeout_s: float = _TIMEOUT_S
) -> dict[str, TopicDescription]:
    """Return what the broker tells of those of the topics that are there.

    Raises:
        BrokerUnavailableError: the broker is away, or does not tell.
    """
    with kafka_errors(kafka), closing(_admin(kafka, timeout_s=timeout_s)) as admin:
        return _descriptions(admin, topics)


def num_partitions(kafka: KafkaSettings, topic: str) -> int:
    """Return how many partitions a topic has; 0 where there is none of that name.

    Raises:
        BrokerUnavailableError: the broker is away, or does not tell.
    """
    description = describe_topics(kafka, [topic]).get(topic)
    return 0 if description is None else description.num_partitions


def end_offsets(kafka: KafkaSettings, topic: str, *, timeout_s: float = _TIMEOUT_S) -> dict[TopicPartition, int]:
    """Return, for each partition of a topic, the offset after its last committed record.

    Raises:
        BrokerUnavailableError: the broker is away, or has no such topic.
    """
    with kafka_errors(kafka), closing(build(KafkaConsumer, consumer_options(kafka))) as consumer:
        return _end_offsets(consumer, topic, timeout_s=timeout_s)


def read_topic(
    kafka: KafkaSettings,
    topic: str,
    *,
    from_offsets: Mapping[TopicPartition, int] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> Generator[Record, None, None]:
    """Yield the committed records of a topic, per partition in order, up to the end it has when this is called.

    Who does not read it to its end closes it.

    Args:
        kafka: the brokers.
        topic: its name.
        from_offsets: where to begin, per partition; from the start where it says nothing.
        timeout_s: how long to wait for the next record that must be there.

    Raises:
        BrokerUnavailableError: the broker is away, has no such topic, or does not give the records in time.
    """
    with kafka_errors(kafka), closing(build(KafkaConsumer, consumer_options(kafka))) as consumer:
        ends = _end_offsets(consumer, topic, timeout_s=timeout_s)
        consumer.assign([KafkaTopicPartition(*partition) for partition in ends])
        for partition in ends:
            start = (from_offsets or {}).get(partition)
            if start is None:
                consumer.seek_to_beginning(KafkaTopicPartition(*partition))
            else:
                consumer.seek(KafkaTopicPartition(*partition), start)
        deadline = time.monotonic() + timeout_s
        # The last offsets of a partition may be transaction markers, which no poll returns: ask for the positions.
        while behind := _behind(consumer, ends, timeout_s=timeout_s):
            batches = consumer.poll(timeout_ms=_POLL_MS, max_records=_POLL_MAX_RECORDS)
            for record in to_records(batches):
                if record.offset < ends[record.source]:
                    yield record
            if batches:
                deadline = time.monotonic() + timeout_s
            elif time.monotonic() > deadline:
                raise KafkaTimeoutError(f"{topic}: no record within {timeout_s:.0f} s, though {behind} has more")


def produce(
    kafka: KafkaSettings,
    records: Iterable[OutgoingRecord],
    *,
    max_in_flight: int = 10_000,
    timeout_s: float = _TIMEOUT_S,
) -> int:
    """Send records, each once, equal keys in order, and wait until all are acknowledged.

    Args:
        kafka: the brokers.
        records: what to send; taken one by one, so that any number fits into memory.
        max_in_flight: how many may wait for their acknowledgement.
        timeout_s: how long a record may wait for it.

    Returns:
        How many were sent.

    Raises:
        RefusedRecordsError: the broker takes one of them from nobody; those before it may be there.
        BrokerUnavailableError: the broker is away or refuses; part of the records may be there.
    """
    options = producer_options(kafka, record_max_bytes=_RECORD_MAX_BYTES, timeout_s=timeout_s)
    number = 0
    in_flight: deque[Any] = deque()
    with kafka_errors(kafka):
        producer = build(KafkaProducer, options)
        try:
            for record in records:
                in_flight.append(send_record(producer, record))
                number += 1
                if len(in_flight) > max_in_flight:
                    in_flight.popleft().get(timeout=timeout_s)
            producer.flush(timeout=timeout_s)
            for sent in in_flight:
                sent.get(timeout=timeout_s)
        finally:
            close_producer(producer, timeout_s=1.0)
    return number


def _descriptions(admin: Any, topics: Iterable[str]) -> dict[str, TopicDescription]:
    descriptions: dict[str, TopicDescription] = {}
    for topic in admin.describe_topics(list(topics)):
        error = for_code(topic["error_code"])
        if error in _NO_TOPIC:
            continue
        if error is not NoError:
            raise error(f"topic {topic['name']}")
        replicas = [len(partition["replica_nodes"]) for partition in topic["partitions"]]
        descriptions[topic["name"]] = TopicDescription(
            topic_id=str(topic.get("topic_id") or ""),
            num_partitions=len(replicas),
            replication_factor=max(replicas, default=1),
        )
    return descriptions


def _admin(kafka: KafkaSettings, *, timeout_s: float) -> Any:
    options = client_options(kafka, bootstrap_timeout_s=timeout_s)
    return build(KafkaAdminClient, options | {"request_timeout_ms": round(timeout_s * 1000)})


def _end_offsets(consumer: Any, topic: str, *, timeout_s: float) -> dict[TopicPartition, int]:
    partitions = [KafkaTopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
    if not partitions:
        raise KafkaError(f"there is no topic {topic}")
    ends = consumer.end_offsets(partitions, timeout_ms=round(timeout_s * 1000))
    return {TopicPartition(*partition): offset for partition, offset in sorted(ends.items())}


def _behind(consumer: Any, ends: Mapping[TopicPartition, int], *, timeout_s: float) -> TopicPartition | None:
    """Return a partition that has not been read to its end."""
    for partition, end in ends.items():
        position = consumer.position(KafkaTopicPartition(*partition), timeout_ms=round(timeout_s * 1000))
        if position is None or position < end:
            return partition
    return None
