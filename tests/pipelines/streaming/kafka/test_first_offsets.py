"""What only a real Kafka shows of a group that began with the latest record: records that are gone."""

from collections.abc import Iterator

import pytest

from pipelines.streaming.broker import OutgoingRecord, TopicPartition
from pipelines.streaming.settings import KafkaSettings
from tests.pipelines.streaming.brokers import PARTITIONS, KafkaBench, poll_records, poll_until, values

pytestmark = pytest.mark.kafka


@pytest.fixture
def bench(apache_kafka: KafkaSettings) -> Iterator[KafkaBench]:
    made = KafkaBench(apache_kafka)
    made.stream = made.stream.model_copy(update={"auto_offset_reset": "latest"})
    yield made
    made.connections.close()


def test_a_group_whose_place_is_gone_reads_what_is_left_and_not_only_what_comes(bench: KafkaBench) -> None:
    connection = bench.connect()
    poll_until(lambda: len(connection.lag()) == PARTITIONS, connection)
    connection.close(timeout_s=5.0)
    source = TopicPartition(bench.stream.source_topic, 1)
    bench.append(
        OutgoingRecord(topic=source.topic, partition=source.partition, key=b"k", value=b"%d" % number)
        for number in range(10)
    )
    with bench.administration() as admin:
        admin.delete_records({source: 6})
    assert values(poll_records(bench.connect(), 4)) == [b"6", b"7", b"8", b"9"]
