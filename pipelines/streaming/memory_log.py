"""What a broker in memory stores: the records of topics with partitions."""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from pipelines.streaming.broker import OutgoingRecord, Record, TopicPartition
from protector_models.moderation.errors import BrokerUnavailableError


class MemoryLog:
    """Records of topics. Not thread-safe."""

    def __init__(self, topics: Mapping[str, int], *, wall_clock: Callable[[], float]) -> None:
        """Make the topics.

        Args:
            topics: name to number of partitions.
            wall_clock: seconds since 1970, for the records' timestamps.
        """
        self._records: dict[TopicPartition, list[Record]] = {
            TopicPartition(topic, partition): [] for topic, number in topics.items() for partition in range(number)
        }
        self._wall_clock = wall_clock

    def append(self, records: Iterable[OutgoingRecord]) -> None:
        """Store all records or none; equal keys go to the same partition.

        Raises:
            BrokerUnavailableError: a topic is not there.
        """
        for source, record in [(self._place(record), record) for record in records]:
            stored = self._records[source]
            stored.append(
                Record(
                    source=source,
                    offset=len(stored),
                    timestamp_ms=round(self._wall_clock() * 1000),
                    key=record.key,
                    value=record.value,
                    headers=record.headers,
                )
            )

    def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Return the partitions of topics, in order."""
        wanted = set(topics)
        return [partition for partition in self._records if partition.topic in wanted]

    def end(self, partition: TopicPartition) -> int:
        """Return the offset of the record that comes next."""
        return len(self._records[partition])

    def read(self, partition: TopicPartition, *, begin: int, max_records: int) -> Sequence[Record]:
        """Return at most `max_records` records from offset `begin` on."""
        return self._records[partition][begin : begin + max_records]

    def _place(self, record: OutgoingRecord) -> TopicPartition:
        partitions = self.partitions([record.topic])
        if not partitions:
            raise BrokerUnavailableError(f"there is no topic {record.topic}")
        return partitions[zlib.crc32(record.key or b"") % len(partitions)]
