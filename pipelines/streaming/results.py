"""What became of a record: what is published for it, or a response that is still to be rewritten."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipelines.streaming.broker import OutgoingRecord, Record
from pipelines.streaming.published_events import EventKey
from protector_models.moderation.conclusions import Decided
from protector_models.moderation.conversation import ConversationEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one record."""

    outgoing: tuple[OutgoingRecord, ...]
    """What is published for it, in one transaction with its offset; nothing for an event that was published before."""
    is_dead_letter: bool
    event: EventKey | None = None
    """Of a moderated conversation, and of one that was published before."""

    def size_bytes(self) -> int:
        """Return the size of what is published."""
        return sum(record.size_bytes() for record in self.outgoing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwritten:
    """A record whose event was decided: its response is to be rewritten."""

    record: Record
    event: ConversationEvent
    decided: Decided


Decide: TypeAlias = Callable[[Sequence[Record]], Awaitable[Sequence[Result | Unwritten]]]
"""Decides a micro-batch: same length and order. May raise; cancelled where nobody wants its results any more."""
Rewrite: TypeAlias = Callable[[Sequence[Unwritten]], Awaitable[Sequence[Result]]]
"""Rewrites what was decided, of any micro-batches: same length and order. May raise, and be cancelled, as well."""
