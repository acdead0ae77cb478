"""The embedded broker does what the demonstration asks of it; the contract tests name what it lacks."""

import pytest

from pipelines.streaming.kafka.embedded_broker import EmbeddedBroker
from tests.pipelines.streaming.brokers import (
    PARTITIONS,
    EmbeddedBench,
    copies,
    next_offsets,
    poll_records,
    records_for,
    values,
)

pytestmark = pytest.mark.shipped


def test_conversations_flow_through_the_embedded_broker() -> None:
    with EmbeddedBroker() as broker:
        bench = EmbeddedBench(broker)
        bench.append(records_for(bench.stream.source_topic, 500))
        connection = bench.connect()
        records = poll_records(connection, 500)
        assert len({record.source for record in records}) == PARTITIONS
        connection.publish(copies(records, bench.stream.sink_topic), next_offsets(records))
        assert values(bench.read(bench.stream.sink_topic)) == values(records)
        assert sum(connection.lag().values()) == 0
        bench.connections.close()


def test_topics_can_only_be_created_while_it_runs() -> None:
    with EmbeddedBroker() as broker:
        assert broker.bootstrap_servers[0].startswith("127.0.0.1:")
    with pytest.raises(RuntimeError, match="not entered"):
        broker.create_topics("topic")
