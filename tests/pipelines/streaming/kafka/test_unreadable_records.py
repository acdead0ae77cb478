"""Whatever a record looks like, a real Kafka's consumer reads it or stands in for it, and reads on."""

from collections.abc import Container, Iterator
from contextlib import closing

import kafka.codec  # type: ignore[import-untyped]  # kafka-python ships no type information
import pytest
from confluent_kafka import Producer
from kafka import KafkaProducer
from kafka.record.default_records import DefaultRecordBatch  # type: ignore[import-untyped]  # no type information

from pipelines.streaming.broker import UNREADABLE_HEADER
from pipelines.streaming.kafka.clients import build, producer_options
from pipelines.streaming.settings import KafkaSettings
from protector_models.moderation.errors import BrokerUnavailableError
from tests.pipelines.streaming.brokers import KafkaBench, next_offsets, poll_for, poll_records

pytestmark = pytest.mark.kafka

VALUE = b"value-%d " + bytes(500)


class Latin1(str):
    """A header's name that a producer takes for UTF-8."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        return super().encode("latin-1")


@pytest.fixture
def bench(apache_kafka: KafkaSettings) -> Iterator[KafkaBench]:
    made = KafkaBench(apache_kafka)
    yield made
    made.connections.close()


def produce(bench: KafkaBench, number: int, *, compression: str | None = None, bad: Container[int] = ()) -> None:
    """Store counted records in partition 0; those in `bad` have a header whose name is not UTF-8."""
    options = producer_options(bench.kafka, record_max_bytes=1_000_000, timeout_s=30.0)
    with closing(build(KafkaProducer, options | {"compression_type": compression, "linger_ms": 200})) as producer:
        for i in range(number):
            headers = [(Latin1("größe"), b"1")] if i in bad else []
            producer.send(bench.stream.source_topic, VALUE % i, b"key-%d" % i, headers, partition=0)


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_batches_of_every_compression_are_read(bench: KafkaBench, compression: str) -> None:
    connection = bench.connect()
    servers = ",".join(bench.kafka.bootstrap_servers)
    producer = Producer({"bootstrap.servers": servers, "compression.type": compression, "linger.ms": 200})
    for i in range(5_000):
        producer.produce(bench.stream.source_topic, VALUE % i, partition=0)
    assert producer.flush(30) == 0
    records = poll_records(connection, 5_000)
    assert [r.value for r in records] == [VALUE % i for i in range(5_000)]


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("bad", [frozenset({0}), frozenset({7}), frozenset({3, 4, 19}), frozenset(range(20))])
def test_a_header_whose_name_is_not_utf_8_holds_nothing_up(
    bench: KafkaBench, compression: str | None, bad: frozenset[int]
) -> None:
    connection = bench.connect()
    produce(bench, 20, compression=compression, bad=bad)
    produce(bench, 5)
    records = poll_records(connection, 25)
    assert [r.offset for r in records] == list(range(25))
    assert {r.offset for r in records if r.value is None} == bad
    assert {r.offset for r in records if UNREADABLE_HEADER in dict(r.headers)} == bad
    assert [r.key for r in records] == [b"key-%d" % i for i in [*range(20), *range(5)]]
    connection.publish([], next_offsets(records))
    assert sum(connection.lag().values()) == 0


def test_a_batch_that_no_codec_reads_holds_nothing_up(bench: KafkaBench, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = bench.connect()
    produce(bench, 20, compression="zstd")
    monkeypatch.setattr(kafka.codec, "zstd", None)
    produce(bench, 5)
    records = poll_records(connection, 25)
    assert [r.offset for r in records] == list(range(25))
    assert {r.offset for r in records if r.value is None} == set(range(20))
    assert b"zstd" in (dict(records[0].headers)[UNREADABLE_HEADER] or b"")


def test_a_batch_that_arrives_corrupted_is_an_error_and_read_again(
    bench: KafkaBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = bench.connect()
    produce(bench, 20)
    with monkeypatch.context() as patch:
        patch.setattr(DefaultRecordBatch, "validate_crc", lambda _: False)
        for _ in range(2):
            with pytest.raises(BrokerUnavailableError, match="crc"):
                poll_for(10.0, connection)
    assert len(poll_records(connection, 20)) == 20
