"""The bare thing: records copied from one topic to another by kafka-python, exactly once, and nothing else."""

import time

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata  # type: ignore[import-untyped]  # no type information
from kafka import TopicPartition as KafkaTopicPartition

from pipelines.streaming.kafka.clients import build, close_producer, consumer_options, transaction_options
from pipelines.streaming.settings import KafkaSettings, StreamSettings


def copy_per_s(kafka: KafkaSettings, stream: StreamSettings, *, num_records: int) -> float:
    """Copy the first records of the source topic to the sink topic; return records per second.

    Uses the same clients with the same options and the same size of transactions as the stream does.
    """
    consumer = build(KafkaConsumer, consumer_options(kafka) | {"group_id": stream.group})
    producer = build(KafkaProducer, transaction_options(kafka, stream, member="copy"))
    try:
        producer.init_transactions()
        partitions = [
            KafkaTopicPartition(stream.source_topic, number)
            for number in consumer.partitions_for_topic(stream.source_topic)
        ]
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        copied = 0
        started = time.perf_counter()
        while copied < num_records:
            batches = consumer.poll(timeout_ms=200, max_records=stream.publish_max_records)
            if batches:
                copied += _copy(producer, consumer, batches, stream.sink_topic)
        return copied / (time.perf_counter() - started)
    finally:
        consumer.close(autocommit=False)
        close_producer(producer, timeout_s=5.0)


def _copy(producer: KafkaProducer, consumer: KafkaConsumer, batches: dict, topic: str) -> int:  # type: ignore[type-arg]
    producer.begin_transaction()
    for records in batches.values():
        for record in records:
            producer.send(topic, value=record.value, key=record.key)
    offsets = {partition: OffsetAndMetadata(records[-1].offset + 1, "", -1) for partition, records in batches.items()}
    producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
    producer.commit_transaction()
    return sum(len(records) for records in batches.values())
