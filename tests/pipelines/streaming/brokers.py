"""What the contract tests run on: each kind of broker, seen from outside, with topics and groups of the test's own."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import groupby
from typing import Any, Protocol

from confluent_kafka import Producer
from kafka import KafkaAdminClient, KafkaConsumer  # type: ignore[import-untyped]  # no type information
from kafka import TopicPartition as KafkaTopicPartition
from kafka.admin import ConfigResource  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.broker import BrokerConnection, OutgoingRecord, Record, TopicPartition
from pipelines.streaming.kafka.broker_administration import ensure_topics, produce, read_topic
from pipelines.streaming.kafka.clients import client_options, consumer_options
from pipelines.streaming.kafka.connection import connect
from pipelines.streaming.kafka.embedded_broker import EmbeddedBroker
from pipelines.streaming.memory.broker import MemoryBroker
from pipelines.streaming.settings import KafkaSettings, StreamSettings
from protector_models.moderation.verdict import Action

PARTITIONS = 4
SESSION_TIMEOUT_S = 6.0
PATIENCE_S = 60.0
"""How long a test waits for what must happen; far longer than it takes, for machines that do other things too."""


class Bench(Protocol):
    """A broker with a source and a sink topic, and the connections that a test opens to it."""

    stream: StreamSettings
    silence_s: float
    """Longer than the group waits for a member with the shortest session timeout, `SESSION_TIMEOUT_S`."""

    def connect(self, member: str = "a", *, stream: StreamSettings | None = None) -> BrokerConnection:
        """Open a connection, which the bench closes in the end."""

    def append(self, records: Iterable[OutgoingRecord]) -> None:
        """Store records as somebody else would."""

    def read(self, topic: str) -> list[Record]:
        """Return what a reader of committed records finds."""

    def limit(self, topic: str, max_bytes: int) -> None:
        """Let a topic take records of at most so many bytes."""

    def add_partitions(self, topic: str, number: int) -> None:
        """Give a topic so many more partitions."""

    def holds_uncommitted(self, topic: str) -> bool:
        """Return whether the broker has records of a transaction that is not committed, if it takes any before."""


class Connections:
    """Opens connections and closes them in the end."""

    def __init__(self, connect: Callable[[StreamSettings, str], BrokerConnection]) -> None:
        self._connect = connect
        self._open: list[BrokerConnection] = []

    def open(self, stream: StreamSettings, member: str) -> BrokerConnection:
        connection = self._connect(stream, member)
        self._open.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._open:
            connection.close(timeout_s=5.0)


class MemoryBench:
    """The broker in memory."""

    silence_s = 0.5

    def __init__(self) -> None:
        self.stream = stream_settings()
        self.broker = MemoryBroker(dict.fromkeys(topics_of(self.stream), PARTITIONS))
        self.connections = Connections(lambda stream, member: self.broker.connect(stream, member=member))

    def connect(self, member: str = "a", *, stream: StreamSettings | None = None) -> BrokerConnection:
        return self.connections.open(stream or self.stream, member)

    def append(self, records: Iterable[OutgoingRecord]) -> None:
        self.broker.append(records)

    def read(self, topic: str) -> list[Record]:
        return self.broker.read(topic)

    def limit(self, topic: str, max_bytes: int) -> None:
        self.broker.set_limit(topic, max_bytes)

    def add_partitions(self, topic: str, number: int) -> None:
        self.broker.add_partitions(topic, number)

    def holds_uncommitted(self, topic: str) -> bool:
        return True


class KafkaBench:
    """A broker that speaks Kafka's protocol."""

    silence_s = 2 * SESSION_TIMEOUT_S

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self.stream = stream_settings()
        ensure_topics(kafka, dict.fromkeys(topics_of(self.stream), PARTITIONS))
        self.connections = Connections(lambda stream, member: connect(kafka, stream, member=member))

    def connect(self, member: str = "a", *, stream: StreamSettings | None = None) -> BrokerConnection:
        return self.connections.open(stream or self.stream, member)

    def append(self, records: Iterable[OutgoingRecord]) -> None:
        # What kafka-python does not write others do.
        others = Producer({"bootstrap.servers": ",".join(self.kafka.bootstrap_servers)})
        for is_null, group in groupby(records, lambda record: record.key is None and record.value is None):
            if is_null:
                for record in group:
                    others.produce(record.topic, headers=list(record.headers))
                assert others.flush(PATIENCE_S) == 0
            else:
                produce(self.kafka, group)

    def read(self, topic: str) -> list[Record]:
        return list(read_topic(self.kafka, topic, timeout_s=PATIENCE_S))

    def limit(self, topic: str, max_bytes: int) -> None:
        self.configure(topic, "max.message.bytes", str(max_bytes))

    def configure(self, topic: str, name: str, value: str) -> None:
        """Set something of a topic's configuration, and wait until the broker knows it."""
        with self.administration() as admin:
            admin.alter_configs([ConfigResource("topic", topic, {name: value})])
            asked = [ConfigResource("topic", topic, [name])]
            wait_until(
                lambda: admin.describe_configs(asked, config_filter="all")["topic"][topic][name]["value"] == value
            )

    def add_partitions(self, topic: str, number: int) -> None:
        with self.administration() as admin:
            admin.create_partitions({topic: PARTITIONS + number})

    @contextmanager
    def administration(self) -> Iterator[Any]:
        """Open kafka-python's client for what Weir never does itself."""
        with closing(KafkaAdminClient(**client_options(self.kafka, bootstrap_timeout_s=PATIENCE_S))) as admin:
            yield admin

    def holds_uncommitted(self, topic: str) -> bool:
        options = consumer_options(self.kafka) | {"isolation_level": "read_uncommitted"}
        with closing(KafkaConsumer(**options)) as consumer:
            partitions = [KafkaTopicPartition(topic, number) for number in range(PARTITIONS)]
            return any(consumer.end_offsets(partitions).values())


class EmbeddedBench(KafkaBench):
    """The embedded broker, which creates no topics for kafka-python."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        stream = stream_settings()
        broker.create_topics(*topics_of(stream))
        self.kafka = broker.settings
        self.stream = stream
        self.connections = Connections(lambda stream, member: connect(self.kafka, stream, member=member))


def stream_settings(**changes: object) -> StreamSettings:
    """Build settings with topics and a group that nobody else uses."""
    name = uuid.uuid4().hex[:12]
    settings = {
        "source_topic": f"source-{name}",
        "sink_topic": f"sink-{name}",
        "action_topics": {"review": f"review-{name}"},
        "group": f"group-{name}",
        "session_timeout_s": 10.0,
        "transaction_timeout_s": 30.0,
        "drain_timeout_s": PATIENCE_S,
    }
    return StreamSettings.model_validate(settings | changes)


def topics_of(stream: StreamSettings) -> tuple[str, ...]:
    """Return the topics that the tests of the contract use."""
    return (stream.source_topic, stream.sink_topic, review_topic(stream))


def review_topic(stream: StreamSettings) -> str:
    """Return the topic of a further copy of results under review."""
    return stream.action_topics[Action.REVIEW]


def records_for(topic: str, number: int) -> list[OutgoingRecord]:
    """Build records with twenty different keys; the values are counted through."""
    return [OutgoingRecord(topic=topic, key=b"key-%d" % (i % 20), value=b"value-%d" % i) for i in range(number)]


class BreakingRecords(list[OutgoingRecord]):
    """Records in whose middle something breaks, once, and not before the broker has some of them."""

    def __init__(self, records: Iterable[OutgoingRecord], *, bench: Bench, error: Exception) -> None:
        super().__init__(records)
        self._bench = bench
        self._errors = [error]

    def __iter__(self) -> Iterator[OutgoingRecord]:
        for number, record in enumerate(super().__iter__()):
            if number == len(self) // 2 and self._errors:
                wait_until(lambda: self._bench.holds_uncommitted(record.topic))  # noqa: B023 - called at once
                raise self._errors.pop()
            yield record


def poll_records(connection: BrokerConnection, number: int) -> list[Record]:
    """Poll until `number` records came."""
    records: list[Record] = []

    def has_all() -> bool:
        records.extend(connection.poll(timeout_s=0.2, max_records=max(1, number - len(records))))
        return len(records) >= number

    wait_until(has_all)
    return records


def poll_until(condition: Callable[[], bool], *connections: BrokerConnection) -> list[Record]:
    """Poll the connections in turn until the condition holds; return what they gave meanwhile."""
    records: list[Record] = []

    def step() -> bool:
        for connection in connections:
            records.extend(connection.poll(timeout_s=0.1, max_records=1_000))
        return condition()

    wait_until(step)
    return records


def poll_for(seconds: float, *connections: BrokerConnection) -> list[Record]:
    """Poll the connections in turn for a while; return what they gave."""
    end = time.monotonic() + seconds
    return poll_until(lambda: time.monotonic() > end, *connections)


def wait_until(condition: Callable[[], bool]) -> None:
    """Call the condition again and again until it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {PATIENCE_S:.0f} s"


def copies(records: Sequence[Record], topic: str) -> list[OutgoingRecord]:
    """Build what a worker that changes nothing would publish."""
    return [OutgoingRecord(topic=topic, key=r.key, value=r.value, headers=r.headers) for r in records]


def large_copies(records: Sequence[Record], topic: str) -> list[OutgoingRecord]:
    """Build results so large that a producer sends them on before it has all of them."""
    return [OutgoingRecord(topic=topic, key=r.key, value=(r.value or b"") + bytes(50_000)) for r in records]


def next_offsets(records: Sequence[Record]) -> dict[TopicPartition, int]:
    """Return the offsets after these records."""
    return {record.source: record.offset + 1 for record in records}


def values(records: Iterable[Record | OutgoingRecord]) -> list[bytes | None]:
    """Return the records' values in a fixed order."""
    return sorted((record.value for record in records), key=repr)
