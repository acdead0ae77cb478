"""What a broker in memory stores: the records of topics with partitions."""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from pipelines.streaming.broker import OutgoingRecord, Record, RefusedRecordsError, TopicPartition
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
        self._limits: dict[str, int] = {}
        self._wall_clock = wall_clock

    def set_limit(self, topic: str, max_bytes: int) -> None:
        """Let a topic take records of at most so many bytes."""
        self._limits[topic] = max_bytes

    def add_partitions(self, topic: str, number: int) -> None:
        """Give a topic so many more partitions."""
        first = len(self.partitions([topic]))
        self._records.update({TopicPartition(topic, first + added): [] for added in range(number)})

    def check(self, records: Iterable[OutgoingRecord], *, max_bytes: int) -> None:
        """Look at records that a connection is about to publish, which takes none larger than `max_bytes`.

        Raises:
            RefusedRecordsError: some of them are taken from nobody.
        """
        for record in records:
            limit = min(max_bytes, self._limits.get(record.topic, max_bytes))
            if record.key is None and record.value is None:
                raise RefusedRecordsError("neither key nor value", [record])
            if (size := record.size_bytes()) > limit:
                raise RefusedRecordsError(f"{size} bytes; expected at most {limit}", [record])
            there = self.partitions([record.topic])
            if there and record.partition is not None and not 0 <= record.partition < len(there):
                raise RefusedRecordsError(f"no partition {record.partition} in {record.topic}", [record])

    def append(self, records: Iterable[OutgoingRecord]) -> None:
        """Store all records or none; equal keys go to the same partition, where they name none.

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
        if record.partition is not None:
            return partitions[record.partition]
        return partitions[zlib.crc32(record.key or b"") % len(partitions)]
