"""Records that are in a topic and that nobody sees, until all are shown at once."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from kafka import KafkaProducer  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.broker import OutgoingRecord
from pipelines.streaming.kafka.clients import build, close_producer, transaction_options
from pipelines.streaming.kafka.sending import send_record
from pipelines.streaming.settings import KafkaSettings, StreamSettings


@contextmanager
def hidden_backlog(
    kafka: KafkaSettings, stream: StreamSettings, records: Iterable[OutgoingRecord]
) -> Iterator[Callable[[], None]]:
    """Produce records to the source topic in a transaction, and yield what commits it.

    So producing them is over when the clock starts. It holds up whatever is produced to their partitions after them.
    """
    producer = build(KafkaProducer, transaction_options(kafka, stream, member="bench"))
    try:
        producer.init_transactions()
        producer.begin_transaction()
        for record in records:
            send_record(producer, replace(record, topic=stream.source_topic))
        producer.flush()
        yield producer.commit_transaction
    finally:
        close_producer(producer, timeout_s=5.0)
