"""Which partitions a member of a Kafka consumer group holds, is about to give up, and has lost.

How kafka-python 3.0 rebalances, and what follows from it:

- Rebalance listeners run on its network thread, but only while the caller of `KafkaConsumer.poll` is blocked in it:
  `poll` drives the rebalance and waits for the listener, an asynchronous one too. A listener that waits for results
  to be published would therefore stop the very thread that has to publish them. So the listener here only takes notes.
- With the cooperative assignor a partition changes hands in two rounds: in the first the member is told to give it
  up, and nobody else has it before the member joins a second time. Until then its membership is valid and the
  broker takes its commits. `govern_joining` puts that second round off until nothing of the partition is in flight;
  meanwhile `poll` goes on with the other partitions, and heartbeats go on by themselves.
- A join that the broker answers between two calls of `poll` is forgotten, and the group rebalances once more. As all
  members are answered at the same moment, a group whose members do other things than poll may go on so for minutes;
  `govern_joining` has the answer found by the next `poll`.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from kafka import ConsumerRebalanceListener  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka.coordinator.assignors.cooperative_sticky import (  # type: ignore[import-untyped]  # no type information
    CooperativeStickyAssignor,
)

from pipelines.streaming.broker import TopicPartition


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # the base class is untyped
    """Takes note of what a rebalance gives and takes.

    Its listener methods never wait and never raise. The network thread calls them, but only while the one thread that
    makes all other calls is blocked in the consumer: so there are no locks.
    """

    def __init__(
        self,
        *,
        drain_timeout_s: float,
        on_assigned: Callable[[Iterable[Any]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.assignor = CooperativeStickyAssignor()
        self._drain_timeout_s = drain_timeout_s
        self._on_assigned = on_assigned
        self._clock = clock
        self._assigned: set[TopicPartition] = set()
        self._leaving: set[TopicPartition] = set()
        self._lost: set[TopicPartition] = set()
        self._deadline = 0.0

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Note partitions that are read from now on."""
        self._assigned |= _ours(assigned)
        self._on_assigned(assigned)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Note partitions that another member shall have; it waits for us to join again."""
        partitions = _ours(revoked)
        self._assigned -= partitions
        self._leaving |= partitions
        self._deadline = self._clock() + self._drain_timeout_s

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Note partitions that another member may have already."""
        partitions = _ours(lost)
        self._assigned -= partitions
        self._lost |= partitions
        self.let_go()
        # Or the next join would claim to own them still, and the leader might believe it.
        self.assignor.member_assignment = None

    def leaving(self) -> frozenset[TopicPartition]:
        """Return what is about to be taken away."""
        return frozenset(self._leaving)

    def let_go(self) -> None:
        """Let others have what is leaving."""
        self._lost |= self._leaving
        self._leaving.clear()

    def let_go_when_late(self) -> None:
        """Let others have what has been leaving for longer than the drain timeout."""
        if self._leaving and self._clock() > self._deadline:
            self.let_go()

    def take_lost(self) -> frozenset[TopicPartition]:
        """Return what was taken away since the last call."""
        lost = frozenset(self._lost)
        self._lost.clear()
        return lost

    def assigned(self) -> frozenset[TopicPartition]:
        """Return what is read."""
        return frozenset(self._assigned)

    def is_held(self, partition: TopicPartition) -> bool:
        """Return whether results of this partition may be published: nobody else had it since it was read."""
        return (partition in self._assigned or partition in self._leaving) and partition not in self._lost


def govern_joining(consumer: Any, membership: Membership) -> None:
    """Decide when a consumer joins its group again: not as long as partitions are leaving, but then to the end.

    A membership that is already lost is not held: its partitions are lost as well. And a join that was begun is always
    finished. kafka-python 3.0.12 forgets one that outlasts a `poll`, if a change of the topic's partitions was its
    reason: the leader that has assigned them sees no more reason to join, and waits for records forever.
    """
    coordinator = consumer._coordinator
    need_rejoin = coordinator.need_rejoin

    def need_rejoin_now() -> bool:
        join = coordinator._join_task
        if join is not None and join.is_done and join.succeeded():
            coordinator._join_task = _AnsweredJoin(join)
        if membership.leaving():
            if coordinator.stable():
                return False
            membership.let_go()
        return bool(coordinator.rejoining or need_rejoin())

    coordinator.need_rejoin = need_rejoin_now


class _AnsweredJoin:
    """A join that was answered while nobody waited for it; kafka-python begins another in place of one that is done."""

    is_done = False

    def __init__(self, join: Any) -> None:
        self._join = join

    def add_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back at once, with what the group assigned."""
        self._join.add_callback(callback)

    def add_errback(self, callback: Callable[[BaseException], None]) -> None:
        """Do nothing: it did not fail."""

    def __await__(self) -> Any:
        return self._join.__await__()


def _ours(partitions: Iterable[Any]) -> set[TopicPartition]:
    return {TopicPartition(*partition) for partition in partitions}
