"""Follows topics as they grow, without a consumer group: for what watches a stream and takes no part in it."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from kafka import KafkaConsumer  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka import TopicPartition as KafkaTopicPartition

from pipelines.streaming.broker import Record
from pipelines.streaming.kafka.clients import build, consumer_options, kafka_errors, to_records
from pipelines.streaming.settings import KafkaSettings


class TopicTail:
    """Reads what is committed to topics from the moment it is opened. One thread uses it."""

    def __init__(self, kafka: KafkaSettings, consumer: Any) -> None:
        self._kafka = kafka
        self._consumer = consumer

    @classmethod
    def open(cls, kafka: KafkaSettings, topics: Sequence[str]) -> Self:
        """Start at the present end of each topic.

        Raises:
            BrokerUnavailableError: the broker is away, or a topic is not there.
        """
        with kafka_errors(kafka):
            consumer = build(KafkaConsumer, consumer_options(kafka))
            partitions = [
                KafkaTopicPartition(topic, number)
                for topic in topics
                for number in consumer.partitions_for_topic(topic)
            ]
            consumer.assign(partitions)
            for partition, end in consumer.end_offsets(partitions).items():
                consumer.seek(partition, end)
        return cls(kafka, consumer)

    def poll(self, *, timeout_s: float) -> list[Record]:
        """Return the next records, per partition in order; nothing if there are none within `timeout_s`.

        Raises:
            BrokerUnavailableError: the broker is away.
        """
        with kafka_errors(self._kafka):
            return to_records(self._consumer.poll(timeout_ms=round(timeout_s * 1000), max_records=5_000))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()
