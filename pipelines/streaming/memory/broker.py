"""A broker in memory, for tests: the contract of the port without a server, and faults on demand."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.streaming.broker import FencedError, OutgoingRecord, Record, TopicPartition
from pipelines.streaming.memory.group import MemoryGroup
from pipelines.streaming.memory.log import MemoryLog
from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.errors import BrokerUnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishFault:
    """How a publish fails."""

    kind: Literal["transient", "fenced"] = "transient"
    after_effect: bool = False
    """Whether everything was carried out and only the answer is missing."""


class MemoryBroker:
    """Topics with partitions, and consumer groups. Thread-safe."""

    def __init__(
        self,
        topics: Mapping[str, int],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Make the topics.

        Args:
            topics: name to number of partitions.
            clock: seconds, for the time that members have to let partitions go.
            wall_clock: seconds since 1970, for the records' timestamps.
        """
        self._log = MemoryLog(topics, wall_clock=wall_clock)
        self._groups: dict[str, MemoryGroup] = {}
        self._members: dict[tuple[str, str], MemoryConnection] = {}
        """The last connection of each group and member."""
        self._faults: deque[PublishFault] = deque()
        self._is_down = False
        self._clock = clock
        self._changed = threading.Condition(threading.RLock())

    def connect(self, stream: StreamSettings, *, member: str) -> "MemoryConnection":
        """Join the group as `member`, taking over from an earlier connection of that name.

        Raises:
            BrokerUnavailableError: the broker is down.
        """
        with self._changed:
            self._check_up()
            group = self._groups.setdefault(stream.group, MemoryGroup())
            connection = MemoryConnection(self, group, stream)
            earlier = self._members.get((stream.group, member))
            self._members[stream.group, member] = connection
            group.members[member] = connection
            if earlier is not None:
                earlier._is_evicted = True
                group.inherit(connection, earlier)
            self._rebalance(group)
            return connection

    def append(self, records: Iterable[OutgoingRecord]) -> None:
        """Store records, as a producer without transactions would."""
        with self._changed:
            self._log.append(records)
            self._changed.notify_all()

    def read(self, topic: str) -> list[Record]:
        """Return the records of a topic, per partition in offset order."""
        with self._changed:
            return [
                record
                for partition in self._log.partitions([topic])
                for record in self._log.read(partition, begin=0, max_records=self._log.end(partition))
            ]

    def num_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; 0 where there is none of that name."""
        with self._changed:
            return len(self._log.partitions([topic]))

    def forget_offsets(self, group: str) -> None:
        """Forget how far a group has got, as after a week in which nobody belonged to it."""
        with self._changed:
            self._groups[group].committed.clear()

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """Return the committed offsets of a group."""
        with self._changed:
            return dict(self._groups[group].committed) if group in self._groups else {}

    def owned(self, group: str) -> frozenset[TopicPartition]:
        """Return the partitions that a member of a group has, those included that are leaving."""
        with self._changed:
            return frozenset(self._groups[group].owners)

    def fail_publishes(self, fault: PublishFault, *, times: int = 1) -> None:
        """Let the next publishes fail, after those that were already told to."""
        self._faults.extend([fault] * times)

    def set_limit(self, topic: str, max_bytes: int) -> None:
        """Let a topic take records of at most so many bytes, however large a connection's may be."""
        with self._changed:
            self._log.set_limit(topic, max_bytes)

    def add_partitions(self, topic: str, number: int) -> None:
        """Give a topic so many more partitions; the groups that read it share them out."""
        with self._changed:
            self._log.add_partitions(topic, number)
            for group in self._groups.values():
                if topic in group.topics():
                    self._rebalance(group)

    def go_down(self) -> None:
        """Answer nobody until `come_up`."""
        with self._changed:
            self._is_down = True

    def come_up(self) -> None:
        """Answer again."""
        with self._changed:
            self._is_down = False

    def withhold(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        """Take partitions away from whoever has them, as for a member that nobody sees; they get time to let go."""
        with self._changed:
            self._groups[group].withheld.update(partitions)
            self._rebalance(self._groups[group])

    def give_back(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        """End `withhold`."""
        with self._changed:
            self._groups[group].withheld.difference_update(partitions)
            self._rebalance(self._groups[group])

    def throw_out(self, group: str, member: str) -> None:
        """Take a member's partitions without asking, as after a session timeout; it joins again when it polls."""
        with self._changed:
            connection = self._members[group, member]
            self._groups[group].remove(connection)
            connection._rejoin_as = member
            connection._be_deprived([*connection._positions, *connection._leaving])

    def _check_up(self) -> None:
        if self._is_down:
            raise BrokerUnavailableError("the broker in memory is down")

    def _rebalance(self, group: MemoryGroup) -> None:
        group.rebalance(self._log.partitions(group.topics()))
        self._changed.notify_all()


class MemoryConnection:
    """One member of a group. See `BrokerConnection` for the contract; made by `MemoryBroker.connect`."""

    def __init__(self, broker: MemoryBroker, group: MemoryGroup, stream: StreamSettings) -> None:
        self._broker = broker
        self._group = group
        self._stream = stream
        self._positions: dict[TopicPartition, int] = {}
        self._leaving: dict[TopicPartition, float] = {}
        """To the time at which they are taken."""
        self._lost: set[TopicPartition] = set()
        self._lost_unawares: set[TopicPartition] = set()
        """What the group has taken without asking; a member learns of it when it polls, and not before."""
        self._in_doubt: Mapping[TopicPartition, int] | None = None
        self._is_paused = False
        self._is_evicted = False
        self._is_closed = False
        self._rejoin_as: str | None = None

    @property
    def source_topic(self) -> str:
        """The topic it reads."""
        return self._stream.source_topic

    def poll(self, *, timeout_s: float, max_records: int) -> list[Record]:
        """Return the next records of the assigned partitions."""
        deadline = time.monotonic() + timeout_s
        with self._broker._changed:
            while True:
                self._check()
                self._learn_of_losses()
                self._rejoin()
                self._let_go_when_late()
                records = [] if self._is_paused else self._take(max_records)
                remaining_s = deadline - time.monotonic()
                if records or remaining_s <= 0:
                    return records
                self._broker._changed.wait(remaining_s)

    def pause(self) -> None:
        """Let `poll` return nothing until `resume`."""
        self._is_paused = True

    def resume(self) -> None:
        """Let `poll` return records again."""
        self._is_paused = False

    def leaving(self) -> frozenset[TopicPartition]:
        """Return partitions that are about to be taken away."""
        return frozenset(self._leaving)

    def let_go(self) -> None:
        """Give up the partitions that `leaving` names."""
        with self._broker._changed:
            self._give_up(list(self._leaving))

    def lost(self) -> frozenset[TopicPartition]:
        """Return partitions that were taken away since the last call."""
        with self._broker._changed:
            lost = frozenset(self._lost)
            self._lost.clear()
            return lost

    def publish(self, records: Sequence[OutgoingRecord], next_offsets: Mapping[TopicPartition, int]) -> None:
        """Publish records and commit the offsets of what they were made from."""
        # Read to its end before anything happens, as a transaction is filled before it is committed.
        records = list(records)
        with self._broker._changed:
            self._check()
            if self._was_committed(next_offsets):
                return
            if taken := [partition for partition in next_offsets if not self._is_held(partition)]:
                raise FencedError(f"partitions {sorted(taken)} are no longer ours")
            self._broker._log.check(records, max_bytes=self._stream.record_max_bytes)
            fault = self._broker._faults.popleft() if self._broker._faults else None
            if fault is not None and not fault.after_effect:
                raise _error(fault)
            self._broker.append(records)
            if fault is not None and self._stream.delivery == "at_least_once":
                raise _error(fault)
            self._group.committed.update(next_offsets)
            if fault is not None:
                self._in_doubt = dict(next_offsets) if fault.kind == "transient" else None
                raise _error(fault)

    def rewind(self) -> None:
        """Go back to the committed offsets of all assigned partitions."""
        with self._broker._changed:
            for partition in self._positions:
                self._positions[partition] = self._group.committed.get(partition, 0)

    def lag(self) -> dict[TopicPartition, int]:
        """Return the number of records between the committed offset and the end."""
        with self._broker._changed:
            self._check()
            return {
                partition: self._broker._log.end(partition) - self._group.committed.get(partition, 0)
                for partition in sorted(self._positions)
            }

    def close(self, *, timeout_s: float) -> None:  # noqa: ARG002 - nothing here takes time
        """Leave the group and close, without publishing or committing."""
        with self._broker._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._group.remove(self)
            self._give_up([*self._positions, *self._leaving])

    def begin(self, partition: TopicPartition) -> None:
        """Read a partition from the committed offset on."""
        if self._stream.auto_offset_reset == "latest" and not self._group.committed:
            # Of all partitions at once: one that has none afterwards is a new one, and begins with its first record.
            log = self._broker._log
            self._group.committed.update({other: log.end(other) for other in log.partitions([self.source_topic])})
        self._positions[partition] = self._group.committed.get(partition, 0)

    def ask_back(self, partition: TopicPartition) -> None:
        """Stop reading a partition and let it go in time."""
        if self._positions.pop(partition, None) is not None:
            self._leaving[partition] = self._broker._clock() + self._stream.drain_timeout_s

    def _check(self) -> None:
        self._broker._check_up()
        if self._is_evicted:
            raise FencedError("another connection has taken this member's name; this one must end")

    def _is_held(self, partition: TopicPartition) -> bool:
        lost = self._lost | self._lost_unawares
        return (partition in self._positions or partition in self._leaving) and partition not in lost

    def _was_committed(self, next_offsets: Mapping[TopicPartition, int]) -> bool:
        in_doubt, self._in_doubt = self._in_doubt, None
        if in_doubt is None:
            return False
        if in_doubt != next_offsets:
            raise FencedError("an earlier publish was committed after all; read again from the committed offsets")
        return True

    def _take(self, max_records: int) -> list[Record]:
        """Return the next records, beginning with another partition each time."""
        records: list[Record] = []
        for partition, position in list(self._positions.items()):
            taken = self._broker._log.read(partition, begin=position, max_records=max_records - len(records))
            if taken:
                del self._positions[partition]
                self._positions[partition] = position + len(taken)
                records += taken
        return records

    def _let_go_when_late(self) -> None:
        now = self._broker._clock()
        if late := [partition for partition, deadline in self._leaving.items() if now >= deadline]:
            self._give_up(late)

    def _give_up(self, partitions: Sequence[TopicPartition]) -> None:
        self._lost.update(partitions)
        self._release(partitions)

    def _be_deprived(self, partitions: Sequence[TopicPartition]) -> None:
        self._lost_unawares.update(partitions)
        self._release(partitions)

    def _learn_of_losses(self) -> None:
        self._lost |= self._lost_unawares
        self._lost_unawares.clear()

    def _release(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self._positions.pop(partition, None)
            self._leaving.pop(partition, None)
            self._group.release(partition, self)
        if self._group.members:
            self._broker._rebalance(self._group)

    def _rejoin(self) -> None:
        if self._rejoin_as is not None:
            self._group.members[self._rejoin_as] = self
            self._rejoin_as = None
            self._broker._rebalance(self._group)


def _error(fault: PublishFault) -> BrokerUnavailableError:
    message = "scripted fault, after effect" if fault.after_effect else "scripted fault"
    return FencedError(message) if fault.kind == "fenced" else BrokerUnavailableError(message)
