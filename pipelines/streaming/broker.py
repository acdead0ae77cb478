"""The seam to the message broker: records, and a connection that reads them and publishes what became of them.

Implementations: `kafka.connection` (kafka-python; Apache Kafka, or the embedded broker of the demonstration) and
`memory.broker` (a fake). One contract suite runs over all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from protector_models.moderation.errors import BrokerUnavailableError, WeirError

Headers = tuple[tuple[str, bytes | None], ...]
"""Names, which may come several times, and values; None is a header without a value, which is not an empty one."""

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
        """Return the size of key, value and headers."""
        return _size_bytes(self.key, self.value, self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingRecord:
    """A record to publish. Records with equal keys go to the same partition and keep their order.

    One without key and value cannot be published, though others may write such records and `poll` gives them.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    """Where it shall stand; None leaves that to its key."""

    def size_bytes(self) -> int:
        """Return the size of key, value and headers."""
        return _size_bytes(self.key, self.value, self.headers)


def _size_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    in_headers = sum(len(name.encode()) + len(held or b"") for name, held in headers)
    return len(key or b"") + len(value or b"") + in_headers


class FencedError(BrokerUnavailableError):
    """The partitions went to another member, or another process took this one's identity. Nothing was published.

    What is in flight must be dropped; `rewind` and `poll` give the records again as far as they are still ours.
    """


class RefusedRecordsError(WeirError):
    """Records that the broker does not take, however often it is asked, and the same call with them never will.

    Args: why, in words that quote nothing of them, and the records: those very ones that were to be published.
    """

    def __init__(self, reason: str, records: Sequence[OutgoingRecord]) -> None:
        super().__init__(reason, records)
        self.reason = reason
        self.records = tuple(records)

    def __str__(self) -> str:
        return self.reason


class BrokerConnection(Protocol):
    """One member of a consumer group, together with the producer that publishes its results.

    Not thread-safe: one thread makes all calls. Offsets mean "the next one to read". A record that `poll` has returned
    is not returned again before a `rewind`, or before its partition was lost and has come back: it is for the caller to
    keep it until it is published.

    Of each verb it is said whether it may block, what it may raise, and what holds after it has raised. Anything else
    that is raised is a fault in the program: the caller must close the connection, without publishing anything more;
    its successor goes on from the committed offsets. After `close` only `close` may be called.
    """

    def poll(self, *, timeout_s: float, max_records: int) -> list[Record]:
        """Return the next records of the assigned partitions, per partition in offset order, at most `max_records`.

        Blocks for at most about `timeout_s`. Must be called regularly, also while paused (then it returns nothing):
        here rebalances take effect, and a member that does not poll is thrown out. While the broker is away it may
        raise, or return nothing.

        Records may be of partitions that `lost` is about to name: then those partitions have come back, and the records
        are the first after the committed offset. So ask `lost` and `leaving` after each poll, before any other call,
        and drop what was in flight before it, not what it has brought.

        Raises:
            FencedError: another process has this member's name; so will the next calls. Nothing was read.
            BrokerUnavailableError: the broker cannot be reached for now, or refuses. Nothing was read: the records come
                with a later call. What is in flight may still be published.
        """

    def pause(self) -> None:
        """Let `poll` return nothing until `resume`, without leaving the group. May be called twice.

        Does not block and does not ask the broker, so that it raises nothing.
        """

    def resume(self) -> None:
        """Let `poll` return records again. May be called without a `pause` before.

        Does not block and does not ask the broker, so that it raises nothing.
        """

    def leaving(self) -> frozenset[TopicPartition]:
        """Return partitions that are about to be taken away.

        The connection holds them for a bounded time (its drain timeout), so that what is in flight can be published;
        `poll` returns none of their records any more. Call `let_go` as soon as nothing of them is in flight. What it
        returns changes with `poll` and `let_go` only.

        Does not block and does not ask the broker, so that it raises nothing.
        """

    def let_go(self) -> None:
        """Give up the partitions that `leaving` names: from here on `lost` names them. May be called without any.

        Does not block and does not ask the broker, so that it raises nothing; others have the partitions after the
        next polls.
        """

    def lost(self) -> frozenset[TopicPartition]:
        """Return partitions that were taken away since the last call; what is in flight of them must be dropped.

        Those that were let go are among them, and those that were not let go in time. A partition may be among them and
        have come back: then its records are read again from the committed offset, and the last `poll` may have brought
        the first of them.

        Does not block and does not ask the broker, so that it raises nothing. It tells each loss once: a caller that
        does not get to know the answer must drop everything and `rewind`.
        """

    def publish(self, records: Sequence[OutgoingRecord], next_offsets: Mapping[TopicPartition, int]) -> None:
        """Publish records, of any topics, and commit the offsets of what they were made from.

        Blocks until both are done, or for about the transaction timeout. There may be offsets without records, as where
        nothing became of them, and records without offsets.

        Exactly once: both happen or neither does. At least once: the offsets are committed after all records are
        acknowledged, so that a crash in between leads to records published twice, never to none.

        Raises:
            FencedError: see there. Nothing was published by this call. An earlier one whose answer was lost may have
                been carried out after all: only `rewind` and `poll` tell.
            RefusedRecordsError: records that are too large for their topic, have neither key nor value, or that the
                broker does not take for another reason of their own; it names at least one, not always all. No offset
                was committed; exactly once, nothing was published either. A call without them may follow at once.
            BrokerUnavailableError: the broker is away, refuses (as for a topic that is not there), or has not answered.
                Whether it was carried out need not be known: the same call may be made again, and then does only what
                was not done; a call for anything else raises FencedError where it was. `poll` may have to be called in
                between, so that a rebalance can end.
        """

    def rewind(self) -> None:
        """Go back to the committed offsets of all assigned partitions, dropping what was fetched.

        Does not block and does not ask the broker, so that it raises nothing. May be called twice.
        """

    def lag(self) -> dict[TopicPartition, int]:
        """Return, for each assigned partition, the number of records between the committed offset and the end.

        May block for as long as the broker takes to answer, about 15 s. Changes nothing of what is read.

        Raises:
            FencedError: another process has this member's name.
            BrokerUnavailableError: the broker cannot be reached for now. All goes on as if this had not been asked.
        """

    def close(self, *, timeout_s: float) -> None:
        """Leave the group and close, without publishing or committing. May be called twice.

        Blocks for at most about `timeout_s` per client. Never raises: what the broker was not told it finds out when
        the session times out.
        """
