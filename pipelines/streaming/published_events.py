"""The events that a worker has published last, so that one that is sent twice need not be published twice."""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import NamedTuple, Self

from pipelines.streaming.broker import TopicPartition
from protector_models.moderation.conversation import ConversationEvent


class EventKey(NamedTuple):
    """What two events have in common that count as one: what they say is not compared."""

    tenant: str
    conversation_id: str
    event_id: str

    @classmethod
    def of(cls, event: ConversationEvent) -> Self:
        """Return the key of an event."""
        return cls(event.tenant, event.conversation_id, event.event_id)


class PublishedEvents:
    """For each partition, the last events of it that became moderated conversations, published and committed.

    A best effort: it begins empty in each process and whenever a partition comes, and it forgets the oldest. Dead
    letters are not in it, so that a replayed one is moderated.
    """

    def __init__(self, *, per_partition: int) -> None:
        """Begin empty.

        Args:
            per_partition: how many events are remembered; 0 remembers none, and then nothing is ever a duplicate.
        """
        self._per_partition = per_partition
        self._events: dict[TopicPartition, OrderedDict[EventKey, None]] = {}

    def knows(self, partition: TopicPartition, event: EventKey) -> bool:
        """Tell whether an event was published from a partition, as far as is remembered."""
        return event in self._events.get(partition, ())

    def duplicates(self, events: Iterable[tuple[TopicPartition, EventKey | None]]) -> list[bool]:
        """Tell of each event that is about to be published whether it is known, or comes a second time among these.

        Args:
            events: in the order of publishing; None stands for what is no moderated conversation.
        """
        seen: set[tuple[TopicPartition, EventKey]] = set()
        answers: list[bool] = []
        for partition, event in events:
            is_duplicate = (
                self._per_partition > 0
                and event is not None
                and ((partition, event) in seen or self.knows(partition, event))
            )
            answers.append(is_duplicate)
            if event is not None:
                seen.add((partition, event))
        return answers

    def remember(self, partition: TopicPartition, event: EventKey) -> None:
        """Take note of an event that was published and committed; the oldest of its partition gives way."""
        if self._per_partition == 0:
            return
        events = self._events.setdefault(partition, OrderedDict())
        events[event] = None
        events.move_to_end(event)
        if len(events) > self._per_partition:
            events.popitem(last=False)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Forget what was published from partitions that others may have now."""
        for partition in partitions:
            self._events.pop(partition, None)
