"""A broker of the test's own: started, stopped, killed, started again; connections live through it."""

import gc
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from kafka.errors import KafkaError  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.broker import BrokerConnection, OutgoingRecord, Record
from pipelines.streaming.kafka.apache_kafka import ApacheKafka, fetch_jars
from pipelines.streaming.kafka.broker_administration import end_offsets, is_answering
from pipelines.streaming.kafka.clients import transaction_options
from pipelines.streaming.kafka.publishers import TransactionalPublisher
from protector_models.moderation.errors import BrokerUnavailableError, ConfigurationError
from tests.pipelines.streaming.brokers import (
    PATIENCE_S,
    KafkaBench,
    copies,
    next_offsets,
    poll_for,
    poll_records,
    poll_until,
    records_for,
    values,
    wait_until,
)

# kafka-python leaves the sockets of refused connections to the garbage collector; see also the fixture `bench`.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(scope="module")
def broker() -> Iterator[ApacheKafka]:
    with ApacheKafka() as started:
        yield started


@pytest.fixture
def bench(broker: ApacheKafka) -> Iterator[KafkaBench]:
    broker.start()
    broker.thaw()
    made = KafkaBench(broker.settings)
    made.stream = made.stream.model_copy(update={"transaction_timeout_s": 4.0})
    yield made
    broker.start()
    broker.thaw()
    made.connections.close()
    gc.collect()


def publish_until_it_works(connection: BrokerConnection, records: Sequence[Record], topic: str) -> None:
    """Publish copies as a worker does: what fails for now is tried again, with polls in between."""

    def is_published() -> bool:
        try:
            connection.publish(copies(records, topic), next_offsets(records))
        except BrokerUnavailableError:
            return False
        return True

    poll_until(is_published, connection)


@pytest.mark.kafka
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("way", ["restart", "kill"])
def test_a_connection_goes_on_when_the_broker_is_back(
    broker: ApacheKafka, bench: KafkaBench, delivery: str, way: str
) -> None:
    bench.stream = bench.stream.model_copy(update={"delivery": delivery})
    bench.append(records_for(bench.stream.source_topic, 200))
    connection = bench.connect()
    before = poll_records(connection, 100)
    connection.publish(copies(before, bench.stream.sink_topic), next_offsets(before))
    if way == "kill":
        broker.kill()
        broker.start()
    else:
        broker.restart()
    after = poll_records(connection, 100)
    publish_until_it_works(connection, after, bench.stream.sink_topic)
    assert values(bench.read(bench.stream.sink_topic)) == values(records_for("", 200))
    assert sum(connection.lag().values()) == 0


@pytest.mark.kafka
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_broker_that_is_down_is_an_error_and_no_hang(broker: ApacheKafka, bench: KafkaBench, delivery: str) -> None:
    bench.stream = bench.stream.model_copy(update={"delivery": delivery})
    bench.append(records_for(bench.stream.source_topic, 100))
    connection = bench.connect()
    records = poll_records(connection, 100)
    broker.stop()
    outgoing = copies(records, bench.stream.sink_topic)
    with pytest.raises(BrokerUnavailableError):
        connection.publish(outgoing, next_offsets(records))
    with pytest.raises(BrokerUnavailableError):
        connection.publish(outgoing, next_offsets(records))
    with pytest.raises(BrokerUnavailableError):
        connection.lag()
    assert poll_for(1.0, connection) == []
    with pytest.raises(BrokerUnavailableError):
        bench.connect("b")
    broker.start()
    publish_until_it_works(connection, records, bench.stream.sink_topic)
    assert values(bench.read(bench.stream.sink_topic)) == values(records)


@pytest.mark.kafka
def test_a_broker_that_does_not_answer_is_an_error_and_no_hang(broker: ApacheKafka, bench: KafkaBench) -> None:
    bench.append(records_for(bench.stream.source_topic, 100))
    connection = bench.connect()
    records = poll_records(connection, 100)
    broker.freeze()
    with pytest.raises(BrokerUnavailableError):
        connection.publish(copies(records, bench.stream.sink_topic), next_offsets(records))
    broker.thaw()
    publish_until_it_works(connection, records, bench.stream.sink_topic)
    assert values(bench.read(bench.stream.sink_topic)) == values(records)


class FreezingRecords(list[OutgoingRecord]):
    """Records in whose middle the broker freezes for a while: when it has the first ones, and none of the others."""

    def __init__(self, records: Iterable[OutgoingRecord], *, bench: KafkaBench, broker: ApacheKafka) -> None:
        super().__init__(records)
        self._bench = bench
        self._broker = broker
        self.thaw = threading.Timer(2.5, broker.thaw)

    def __iter__(self) -> Iterator[OutgoingRecord]:
        records = list(super().__iter__())
        yield from records[: len(records) // 2]
        wait_until(lambda: self._bench.holds_uncommitted(records[0].topic))
        self._broker.freeze()
        self.thaw.start()
        yield from records[len(records) // 2 :]


@pytest.mark.kafka
def test_a_transaction_is_not_committed_without_records_that_came_too_late(
    broker: ApacheKafka, bench: KafkaBench
) -> None:
    # They expire after 2 s, when the broker is frozen; the commit that follows finds it thawed.
    options = transaction_options(bench.kafka, bench.stream, member="hasty")
    publisher = TransactionalPublisher(
        options=options | {"delivery_timeout_ms": 2_000, "request_timeout_ms": 1_900},
        group_metadata=lambda: None,
        committed=lambda _: None,
        timeout_s=PATIENCE_S,
    )
    publisher.open()
    records = FreezingRecords(records_for(bench.stream.sink_topic, 200), bench=bench, broker=broker)
    with pytest.raises(KafkaError):
        publisher.publish(records, {})
    records.thaw.join()
    publisher.close(timeout_s=5.0)
    assert bench.read(bench.stream.sink_topic) == []


@pytest.mark.kafka
def test_a_connection_can_be_closed_while_the_broker_is_down(broker: ApacheKafka, bench: KafkaBench) -> None:
    connection = bench.connect()
    poll_for(1.0, connection)
    broker.stop()
    connection.close(timeout_s=2.0)


@pytest.mark.kafka
def test_data_and_address_outlast_a_stop(broker: ApacheKafka, bench: KafkaBench) -> None:
    bench.append(records_for(bench.stream.source_topic, 10))
    broker.stop()
    broker.stop()
    assert not is_answering(broker.settings, timeout_s=0.5)
    broker.start()
    broker.start()
    assert sum(end_offsets(bench.kafka, bench.stream.source_topic).values()) == 10
    assert broker.log_path.is_file()


def test_without_java_the_error_says_how_to_get_a_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"java is not on the PATH.*WEIR_TEST_KAFKA"), ApacheKafka():
        pass


def test_without_maven_the_error_says_how_to_get_a_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"mvn is not on the PATH.*WEIR_TEST_KAFKA"):
        fetch_jars(tmp_path / "cache")


def test_what_maven_says_when_it_fails_is_in_the_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho no route to the repository\nexit 1\n", encoding="utf-8")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="no route to the repository"):
        fetch_jars(tmp_path / "cache")
    assert not (tmp_path / "cache" / "libs").exists()
