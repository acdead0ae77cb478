"""The seam to the message broker: records, and a connection that reads them and publishes what became of them.

Implementations: `kafka_broker` (kafka-python; Apache Kafka, or the embedded broker of the demonstration) and
`memory_broker` (a fake). One contract suite runs over all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from protector_models.moderation.errors import BrokerUnavailableError

Headers = tuple[tuple[str, bytes], ...]

UNREADABLE_HEADER = "kafka-unreadable"
"""A record without a value that has this header stands for one that could not be read; the header says why."""


class TopicPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as it was read."""

    source: TopicPartition
    offset: int
    timestamp_ms: int
    """Milliseconds since 1970, as the broker tells it."""
    key: bytes | None
    value: bytes | None
    """None is a tombstone."""
    headers: Headers = ()

    def size_bytes(self) -> int:
        """Return the size of key and value."""
        return len(self.key or b"") + len(self.value or b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingRecord:
    """A record to publish. Records with equal keys go to the same partition and keep their order."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    def size_bytes(self) -> int:
        """Return the size of key, value and headers."""
        headers = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class FencedError(BrokerUnavailableError):
    """The partitions went to another member, or another process took this one's identity. Nothing was published.

    What is in flight must be dropped; `rewind` and `poll` give the records again as far as they are still ours.
    """


class BrokerConnection(Protocol):
    """One member of a consumer group, together with the producer that publishes its results.

    Not thread-safe: one thread makes all calls. Offsets mean "the next one to read".
    """

    def poll(self, *, timeout_s: float, max_records: int) -> list[Record]:
        """Return the next records of the assigned partitions, per partition in offset order.

        Blocks for at most about `timeout_s`. Must be called regularly, also while paused (then it returns nothing):
        here rebalances take effect, and a member that does not poll is thrown out.

        Raises:
            BrokerUnavailableError: the broker cannot be reached for now.
        """

    def pause(self) -> None:
        """Let `poll` return nothing until `resume`, without leaving the group. May be called twice."""

    def resume(self) -> None:
        """Let `poll` return records again. May be called without a `pause` before."""

    def leaving(self) -> frozenset[TopicPartition]:
        """Return partitions that are about to be taken away.

        The connection holds them for a bounded time (its drain timeout), so that what is in flight can be published;
        `poll` returns none of their records any more. Call `let_go` as soon as nothing of them is in flight.
        """

    def let_go(self) -> None:
        """Give up the partitions that `leaving` names. May be called without any."""

    def lost(self) -> frozenset[TopicPartition]:
        """Return partitions that were taken away since the last call; what is in flight of them must be dropped.

        Those that were let go are among them, and those that were not let go in time. A partition may be among them and
        have come back: then its records will be read again from the committed offset.
        """

    def publish(self, records: Sequence[OutgoingRecord], next_offsets: Mapping[TopicPartition, int]) -> None:
        """Publish records and commit the offsets of what they were made from. Blocks until both are done.

        Exactly once: both happen or neither does. At least once: the offsets are committed after all records are
        acknowledged, so that a crash in between leads to records published twice, never to none.

        Raises:
            FencedError: see there.
            BrokerUnavailableError: nothing was committed; the same call may be made again. `poll` may have to be called
                in between, so that a rebalance can end.
        """

    def rewind(self) -> None:
        """Go back to the committed offsets of all assigned partitions, dropping what was fetched."""

    def lag(self) -> dict[TopicPartition, int]:
        """Return, for each assigned partition, the number of records between the committed offset and the end.

        Raises:
            BrokerUnavailableError: the broker cannot be reached for now.
        """

    def close(self, *, timeout_s: float) -> None:
        """Leave the group and close, without publishing or committing. May be called twice. Never raises."""
