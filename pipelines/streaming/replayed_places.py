"""How far dead letters were replayed, kept in a topic of its own.

Brokers forget the offsets of a group that nobody belongs to after a week, and somebody belongs to that of the replay
only while it runs. So each publish of a replay carries the places that it leads to, in the same transaction; their
topic is compacted, so that the last one of each partition stays.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipelines.streaming.broker import OutgoingRecord, Record, TopicPartition


def places_topic(letters: str) -> str:
    """Return the name of the topic that keeps how far a topic's letters were replayed."""
    return f"{letters}.replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedPlaces:
    """Reads and writes the places of one group in one topic of dead letters."""

    letters: str
    """The topic with the dead letters."""
    letters_id: str
    """Its id: a topic that was made anew under its name has another one, and none of its letters was replayed."""
    group: str
    """Who replays."""

    def written(self, next_offsets: Mapping[TopicPartition, int]) -> list[OutgoingRecord]:
        """Return what to publish so that `read` finds these places."""
        topic = places_topic(self.letters)
        return [
            OutgoingRecord(topic=topic, key=self._key(partition), value=str(offset).encode())
            for partition, offset in next_offsets.items()
        ]

    def read(self, records: Iterable[Record], partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset of the first letter that was not replayed, for each of the partitions.

        Args:
            records: of the topic of places, in order; those of other groups and topics are passed over.
            partitions: of the dead letters.
        """
        last = {record.key: record.value for record in records}
        values = {partition: last.get(self._key(partition)) for partition in partitions}
        return {partition: int(value) for partition, value in values.items() if value is not None}

    def _key(self, partition: TopicPartition) -> bytes:
        return json.dumps([self.group, self.letters, self.letters_id, partition.partition]).encode()
