"""A consumer group in memory: who reads which partition, and how far the group has got."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from pipelines.streaming.broker import TopicPartition


class GroupMember(Protocol):
    """What a group asks of its members."""

    @property
    def source_topic(self) -> str:
        """The topic it reads."""

    def begin(self, partition: TopicPartition) -> None:
        """Read a partition from the committed offset on."""

    def ask_back(self, partition: TopicPartition) -> None:
        """Stop reading a partition and let it go in time. May be called twice."""


@dataclass(slots=True)
class MemoryGroup:
    """Members by name, owners of partitions, committed offsets. Not thread-safe."""

    members: dict[str, GroupMember] = field(default_factory=dict)
    owners: dict[TopicPartition, GroupMember] = field(default_factory=dict)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    withheld: set[TopicPartition] = field(default_factory=set)
    """Partitions that nobody gets for now."""

    def topics(self) -> set[str]:
        """Return what the members read."""
        return {member.source_topic for member in self.members.values()}

    def rebalance(self, partitions: Iterable[TopicPartition]) -> None:
        """Give free partitions to those who shall have them; ask the others' owners to let go."""
        members = [self.members[name] for name in sorted(self.members)]
        for number, partition in enumerate(partitions):
            target = None if partition in self.withheld else members[number % len(members)]
            owner = self.owners.get(partition)
            if owner is target:
                continue
            if owner is not None:
                owner.ask_back(partition)
            elif target is not None:
                self.owners[partition] = target
                target.begin(partition)

    def release(self, partition: TopicPartition, member: GroupMember) -> None:
        """Take a partition from a member, if it has it."""
        if self.owners.get(partition) is member:
            del self.owners[partition]

    def remove(self, member: GroupMember) -> None:
        """Forget a member, under whatever name it is known."""
        for name in [name for name, known in self.members.items() if known is member]:
            del self.members[name]

    def inherit(self, heir: GroupMember, earlier: GroupMember) -> None:
        """Let a member have at once what another one had."""
        for partition in [partition for partition, owner in self.owners.items() if owner is earlier]:
            self.owners[partition] = heir
            heir.begin(partition)
