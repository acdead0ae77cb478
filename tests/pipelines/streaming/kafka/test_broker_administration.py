"""Topics as a whole, on a real Kafka."""

import uuid

import pytest
from kafka.errors import KafkaTimeoutError  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.broker import OutgoingRecord, RefusedRecordsError, TopicPartition
from pipelines.streaming.kafka.broker_administration import (
    end_offsets,
    ensure_topics,
    is_answering,
    produce,
    read_topic,
)
from pipelines.streaming.settings import KafkaSettings
from protector_models.moderation.errors import BrokerUnavailableError
from tests.pipelines.streaming.brokers import (
    BreakingRecords,
    KafkaBench,
    large_copies,
    next_offsets,
    poll_records,
    records_for,
    values,
)

pytestmark = pytest.mark.kafka
NOBODY = KafkaSettings(bootstrap_servers=("127.0.0.1:1",))


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:12]}"


def test_topics_are_created_once_with_their_partitions(apache_kafka: KafkaSettings, topic: str) -> None:
    ensure_topics(apache_kafka, {topic: 3})
    ensure_topics(apache_kafka, {topic: 5, f"{topic}-other": 1})
    assert end_offsets(apache_kafka, topic) == {TopicPartition(topic, number): 0 for number in range(3)}
    assert end_offsets(apache_kafka, f"{topic}-other") == {TopicPartition(f"{topic}-other", 0): 0}


def test_a_topic_that_cannot_be_created_is_an_error_that_names_it(apache_kafka: KafkaSettings, topic: str) -> None:
    with pytest.raises(BrokerUnavailableError, match=topic):
        ensure_topics(apache_kafka, {topic: 1}, replication_factor=7)


def test_a_topic_that_is_not_there_is_an_error_that_names_it(apache_kafka: KafkaSettings, topic: str) -> None:
    with pytest.raises(BrokerUnavailableError, match=topic):
        end_offsets(apache_kafka, topic)
    with pytest.raises(BrokerUnavailableError, match=topic):
        list(read_topic(apache_kafka, topic))


def test_what_is_produced_is_read_to_the_end_in_order(apache_kafka: KafkaSettings, topic: str) -> None:
    ensure_topics(apache_kafka, {topic: 3})
    sent = records_for(topic, 5_000)
    assert produce(apache_kafka, iter(sent), max_in_flight=100) == 5_000
    found = list(read_topic(apache_kafka, topic))
    assert values(found) == values(sent)
    for partition, end in end_offsets(apache_kafka, topic).items():
        assert [record.offset for record in found if record.source == partition] == list(range(end))


def test_reading_can_begin_at_given_offsets(apache_kafka: KafkaSettings, topic: str) -> None:
    ensure_topics(apache_kafka, {topic: 2})
    produce(apache_kafka, records_for(topic, 100))
    ends = end_offsets(apache_kafka, topic)
    first = TopicPartition(topic, 0)
    found = list(read_topic(apache_kafka, topic, from_offsets={first: 5, TopicPartition(topic, 1): 10_000}))
    assert [record.offset for record in found] == list(range(5, ends[first]))


def test_an_empty_topic_is_read_at_once(apache_kafka: KafkaSettings, topic: str) -> None:
    ensure_topics(apache_kafka, {topic: 2})
    assert list(read_topic(apache_kafka, topic)) == []


def test_a_reader_passes_over_aborted_transactions_at_the_end(apache_kafka: KafkaSettings) -> None:
    bench = KafkaBench(apache_kafka)
    bench.append(records_for(bench.stream.source_topic, 40))
    connection = bench.connect()
    records = poll_records(connection, 40)
    outgoing = BreakingRecords(large_copies(records, bench.stream.sink_topic), bench=bench, error=KafkaTimeoutError())
    with pytest.raises(BrokerUnavailableError):
        connection.publish(outgoing, next_offsets(records))
    assert sum(end_offsets(apache_kafka, bench.stream.sink_topic).values()) > 0
    assert bench.read(bench.stream.sink_topic) == []
    bench.connections.close()


def test_a_record_that_is_too_large_is_refused(apache_kafka: KafkaSettings, topic: str) -> None:
    ensure_topics(apache_kafka, {topic: 1})
    too_large = OutgoingRecord(topic=topic, key=b"k", value=bytes(20_000_000))
    with pytest.raises(RefusedRecordsError, match="large"):
        produce(apache_kafka, [*records_for(topic, 10), too_large])


def test_a_broker_that_is_away_is_an_error_that_names_its_address() -> None:
    assert not is_answering(NOBODY, timeout_s=0.5)
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1"):
        ensure_topics(NOBODY, {"topic": 1}, timeout_s=0.5)
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1"):
        produce(NOBODY, [], timeout_s=0.5)
