"""Reads and writes topics by another client than Weir's own: librdkafka."""

import json
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from confluent_kafka import Consumer, Producer, TopicPartition

from pipelines.streaming.kafka.broker_administration import ensure_topics
from pipelines.streaming.settings import KafkaSettings

PARTITIONS = 4


def make_topics(kafka: KafkaSettings, stem: str) -> str:
    """Make the topics of a configuration that `write_config` writes; return the stem of their names."""
    name = f"{stem}-{uuid4().hex[:8]}"
    ensure_topics(kafka, {f"{name}.in": PARTITIONS, f"{name}.out": PARTITIONS, f"{name}.dead": 1})
    return name


def send(kafka: KafkaSettings, topic: str, events: Iterable[dict[str, object]]) -> None:
    """Send events, each once, those of a conversation in order."""
    producer = Producer(
        {
            "bootstrap.servers": ",".join(kafka.bootstrap_servers),
            "partitioner": "murmur2_random",
            "enable.idempotence": True,  # or what it sends again would come after what it sent later
        }
    )
    for event in events:
        producer.produce(topic, key=str(event["conversation_id"]).encode(), value=json.dumps(event).encode())
    assert producer.flush(60) == 0


def count_committed(kafka: KafkaSettings, group: str) -> int:
    """Return how many records of the source topic the group has committed."""
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(kafka.bootstrap_servers),
            "group.id": group,
            "isolation.level": "read_uncommitted",  # else it waits for the transactions that were killed to time out
        }
    )
    offsets = consumer.committed([TopicPartition(f"{group}.in", number) for number in range(PARTITIONS)], timeout=60)
    consumer.close()
    return sum(max(0, partition.offset) for partition in offsets)


class VerdictReader:
    """Reads the verdicts that are committed to a topic. A context manager."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": ",".join(kafka.bootstrap_servers),
                "group.id": str(uuid4()),
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        self.verdicts: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def read(self) -> int:
        """Read a little of what there is; return how many verdicts there have been so far."""
        for message in self._consumer.consume(1_000, timeout=0.3):
            assert message.error() is None, message.error()
            value = message.value()
            assert value is not None
            self.verdicts.append(json.loads(value))
        return len(self.verdicts)

    def times_seen(self) -> Counter[str]:
        """Return how often each event came out."""
        return Counter(verdict["event_id"] for verdict in self.verdicts)

    def by_conversation(self) -> dict[str, list[str]]:
        """Return the events of each conversation in the order in which they came out."""
        came: dict[str, list[str]] = {}
        for verdict in self.verdicts:
            came.setdefault(verdict["conversation_id"], []).append(verdict["event_id"])
        return came
