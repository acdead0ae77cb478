"""Every event comes out once, whatever is killed; read and written by another client than Weir's own."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from pipelines.streaming.settings import KafkaSettings
from pipelines.streaming.topics import ensure_topics
from tests.end_to_end.processes import ServeProcess, wait_until, write_config

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.ray, pytest.mark.timeout(600)]

PARTITIONS = 4
EVENTS = 3_000
CONVERSATIONS = 37


def _event(number: int) -> tuple[bytes, bytes]:
    conversation = f"c{number % CONVERSATIONS}"
    event = {
        "schema_version": 1,
        "event_id": f"e{number}",
        "conversation_id": conversation,
        "occurred_at": "2026-01-31T12:00:00Z",
        "messages": [{"role": "user", "content": f"What is {number % 211} and {number % 17}?"}],
        "response": f"It is {number % 211 + number % 17}.",
    }
    return conversation.encode(), json.dumps(event).encode()


def _produce(kafka: KafkaSettings, topic: str, numbers: range) -> None:
    producer = Producer(
        {
            "bootstrap.servers": ",".join(kafka.bootstrap_servers),
            "partitioner": "murmur2_random",
            "enable.idempotence": True,  # or what it sends again would come after what it sent later
        }
    )
    for number in numbers:
        key, value = _event(number)
        producer.produce(topic, key=key, value=value)
    assert producer.flush(60) == 0


class _Reader:
    """Reads what is committed to a topic, by librdkafka."""

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
        self.verdicts: list[dict[str, object]] = []

    def read(self) -> int:
        """Read a little of what there is; return how many verdicts there have been so far."""
        for message in self._consumer.consume(50, timeout=0.3):
            assert message.error() is None, message.error()
            value = message.value()
            assert value is not None
            self.verdicts.append(json.loads(value))
        return len(self.verdicts)

    def close(self) -> None:
        self._consumer.close()


def _committed(kafka: KafkaSettings, group: str) -> int:
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


@pytest.fixture
def reader(apache_kafka: KafkaSettings, topics: str) -> Iterator[_Reader]:
    reader = _Reader(apache_kafka, f"{topics}.out")
    yield reader
    reader.close()


@pytest.fixture
def topics(apache_kafka: KafkaSettings) -> str:
    """The stem of this test's topics."""
    name = f"once-{uuid4().hex[:8]}"
    ensure_topics(apache_kafka, {f"{name}.in": PARTITIONS, f"{name}.out": PARTITIONS, f"{name}.dead": 1})
    return name


def test_every_event_comes_out_exactly_once_though_the_process_tree_is_killed_twice(
    apache_kafka: KafkaSettings, redis_url: str, tmp_path: Path, topics: str, reader: _Reader
) -> None:
    config = write_config(tmp_path, apache_kafka, redis_url, name=topics)
    _produce(apache_kafka, f"{topics}.in", range(EVENTS))
    for kill_after in (EVENTS // 4, EVENTS // 2):
        with ServeProcess(config, tmp_path / "serve.log") as process:
            wait_until(lambda: reader.read() >= kill_after, process)  # noqa: B023  (called before the loop goes on)
        # Leaving the context kills the process and all that it has started.
        assert _committed(apache_kafka, topics) < EVENTS, "it was done before it was killed: nothing was tested"
    with ServeProcess(config, tmp_path / "serve.log") as process:
        wait_until(lambda: reader.read() >= EVENTS, process)
        assert process.terminate() == 0
    reader.read()

    times_seen = Counter(str(verdict["event_id"]) for verdict in reader.verdicts)
    assert times_seen == Counter(f"e{number}" for number in range(EVENTS))
    by_conversation: dict[str, list[int]] = {}
    for verdict in reader.verdicts:
        by_conversation.setdefault(str(verdict["conversation_id"]), []).append(int(str(verdict["event_id"])[1:]))
    assert all(numbers == sorted(numbers) for numbers in by_conversation.values())
