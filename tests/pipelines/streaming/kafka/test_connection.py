"""What only a real Kafka shows: transactions that break at the worst moment, and processes that are killed."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.broker import FencedError, OutgoingRecord, TopicPartition
from pipelines.streaming.kafka import connection as kafka_broker
from pipelines.streaming.kafka.publishers import AcknowledgedPublisher, TransactionalPublisher
from pipelines.streaming.settings import KafkaSettings
from protector_models.moderation.errors import BrokerUnavailableError
from tests.pipelines.streaming.brokers import (
    BreakingRecords,
    KafkaBench,
    large_copies,
    next_offsets,
    poll_for,
    poll_records,
    records_for,
    values,
)

pytestmark = pytest.mark.kafka


class UnansweredPublisher(TransactionalPublisher):
    """Carries commits out, but hears no answer of the first one."""

    has_gone_unanswered = False

    def _commit(self, next_offsets: Mapping[TopicPartition, int], *, deadline: float) -> None:
        super()._commit(next_offsets, deadline=deadline)
        if not self.has_gone_unanswered:
            self.has_gone_unanswered = True
            self._in_doubt = dict(next_offsets)
            raise KafkaTimeoutError


class RefusedOffsetsPublisher(AcknowledgedPublisher):
    """Is refused the offsets of its first publish."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        accept = self._commit
        refusals = [KafkaTimeoutError()]

        def commit(next_offsets: Mapping[TopicPartition, int]) -> None:
            if refusals:
                raise refusals.pop()
            accept(next_offsets)

        self._commit = commit


@pytest.fixture
def bench(apache_kafka: KafkaSettings) -> Iterator[KafkaBench]:
    made = KafkaBench(apache_kafka)
    made.append(records_for(made.stream.source_topic, 100))
    yield made
    made.connections.close()


def test_an_aborted_transaction_is_not_seen_and_its_producer_goes_on(bench: KafkaBench) -> None:
    connection = bench.connect()
    records = poll_records(connection, 100)
    copied = large_copies(records, bench.stream.sink_topic)
    outgoing = BreakingRecords(copied, bench=bench, error=KafkaTimeoutError())
    with pytest.raises(BrokerUnavailableError):
        connection.publish(outgoing, next_offsets(records))
    assert bench.read(bench.stream.sink_topic) == []
    assert sum(connection.lag().values()) == 100
    connection.publish(outgoing, next_offsets(records))
    assert values(bench.read(bench.stream.sink_topic)) == values(copied)


def test_a_batch_that_is_too_large_for_its_topic_goes_out_in_parts(bench: KafkaBench) -> None:
    bench.limit(bench.stream.sink_topic, 20_000)
    connection = bench.connect()
    records = poll_records(connection, 100)
    random = Random(1)
    outgoing = [
        OutgoingRecord(topic=bench.stream.sink_topic, key=b"%d" % (number % 3), value=random.randbytes(2_000))
        for number in range(300)
    ]
    connection.publish(outgoing, next_offsets(records))
    published = bench.read(bench.stream.sink_topic)
    for key in (b"0", b"1", b"2"):
        assert [r.value for r in published if r.key == key] == [r.value for r in outgoing if r.key == key]
    assert sum(connection.lag().values()) == 0


def test_a_commit_without_an_answer_is_not_repeated(bench: KafkaBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_broker, "TransactionalPublisher", UnansweredPublisher)
    connection = bench.connect()
    records = poll_records(connection, 100)
    outgoing = large_copies(records, bench.stream.sink_topic)
    with pytest.raises(BrokerUnavailableError):
        connection.publish(outgoing, next_offsets(records))
    connection.publish(outgoing, next_offsets(records))
    assert values(bench.read(bench.stream.sink_topic)) == values(outgoing)
    assert sum(connection.lag().values()) == 0


def test_after_a_commit_without_an_answer_other_results_are_refused_once(
    bench: KafkaBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_broker, "TransactionalPublisher", UnansweredPublisher)
    connection = bench.connect()
    records = poll_records(connection, 100)
    outgoing = large_copies(records, bench.stream.sink_topic)
    with pytest.raises(BrokerUnavailableError):
        connection.publish(outgoing[:50], next_offsets(records[:50]))
    with pytest.raises(FencedError):
        connection.publish(outgoing, next_offsets(records))
    connection.rewind()
    rest = poll_records(connection, 50)
    connection.publish(large_copies(rest, bench.stream.sink_topic), next_offsets(rest))
    assert values(bench.read(bench.stream.sink_topic)) == values(outgoing)


def test_records_whose_offsets_were_refused_are_not_sent_again(
    bench: KafkaBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_broker, "AcknowledgedPublisher", RefusedOffsetsPublisher)
    bench.stream = bench.stream.model_copy(update={"delivery": "at_least_once"})
    connection = bench.connect()
    records = poll_records(connection, 100)
    outgoing = large_copies(records, bench.stream.sink_topic)
    with pytest.raises(BrokerUnavailableError):
        connection.publish(outgoing[:60], next_offsets(records[:60]))
    connection.publish(outgoing, next_offsets(records))
    assert values(bench.read(bench.stream.sink_topic)) == values(outgoing)
    assert sum(connection.lag().values()) == 0


KILLED_IN_PUBLISH = """
    import os, signal, sys
    from pipelines.streaming.kafka.connection import connect
    from pipelines.streaming.settings import KafkaSettings, StreamSettings
    from tests.pipelines.streaming.brokers import large_copies, next_offsets, poll_records

    class Killing(list):
        def __iter__(self):
            yield from super().__iter__()
            os.kill(os.getpid(), signal.SIGKILL)

    stream = StreamSettings.model_validate_json(sys.argv[2])
    connection = connect(KafkaSettings.model_validate_json(sys.argv[1]), stream, member="a")
    for number in (40, 60):
        records = poll_records(connection, number)
        outgoing = large_copies(records, stream.sink_topic)
        connection.publish(outgoing if number == 40 else Killing(outgoing), next_offsets(records))
"""


def test_a_killed_process_that_comes_back_goes_on_at_once_where_it_had_committed(bench: KafkaBench) -> None:
    # Longer than the test's patience: only a static member has its partitions back before that.
    bench.stream = bench.stream.model_copy(update={"session_timeout_s": 600.0, "max_poll_interval_s": 600.0})
    arguments = [bench.kafka.model_dump_json(), bench.stream.model_dump_json()]
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED_IN_PUBLISH), *arguments],
        check=False,
        capture_output=True,
        timeout=100,
    )
    assert killed.returncode == -9, killed.stderr.decode()
    connection = bench.connect()
    rest = poll_records(connection, 60)
    connection.publish(large_copies(rest, bench.stream.sink_topic), next_offsets(rest))
    expected = [(record.value or b"") + bytes(50_000) for record in records_for("", 100)]
    assert values(bench.read(bench.stream.sink_topic)) == sorted(expected, key=repr)


def test_records_that_a_failed_poll_had_taken_out_come_with_the_next(
    bench: KafkaBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = bench.connect()
    first = poll_records(connection, 10)
    poll = connection._consumer.poll  # type: ignore[attr-defined]  # the connection to Kafka has one

    def break_afterwards(**arguments: Any) -> Any:
        if poll(**arguments):
            raise KafkaTimeoutError
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(connection._consumer, "poll", break_afterwards)  # type: ignore[attr-defined]  # see above
        with pytest.raises(BrokerUnavailableError):
            poll_for(10.0, connection)
    assert values([*first, *poll_records(connection, 90)]) == values(records_for("", 100))
