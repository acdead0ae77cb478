"""What is published in one transaction, and what is remembered and counted of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import structlog

from pipelines.streaming.broker import OutgoingRecord, Record, RefusedRecordsError, TopicPartition
from pipelines.streaming.lanes import Entry
from pipelines.streaming.published_events import PublishedEvents
from pipelines.streaming.results import Result
from protector_models.moderation.ports import Metrics

_log = structlog.get_logger(__name__)


def next_offsets(records: Iterable[Record]) -> dict[TopicPartition, int]:
    """Return, for each partition, the offset after the last of these records."""
    offsets: dict[TopicPartition, int] = {}
    for record in records:
        offsets[record.source] = max(offsets.get(record.source, 0), record.offset + 1)
    return offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Finished entries, and what becomes of them."""

    entries: Sequence[Entry]
    results: Sequence[Result]
    """Of each entry."""
    duplicates: Sequence[bool]
    """Whether each was published before, or comes twice here: nothing is published for it."""

    @classmethod
    def of(cls, entries: Sequence[Entry], published: PublishedEvents) -> Self:
        """Return the publication of entries that are finished, in their order."""
        results = [entry.result for entry in entries if entry.result is not None]
        duplicates = published.duplicates(
            (entry.record.source, result.event) for entry, result in zip(entries, results, strict=True)
        )
        return cls(entries=entries, results=results, duplicates=duplicates)

    @property
    def num_dead_letters(self) -> int:
        """How many of the entries end as dead letters."""
        return sum(result.is_dead_letter for result in self.results)

    def outgoing(self) -> list[OutgoingRecord]:
        """Return what is published."""
        fresh = [result for result, again in zip(self.results, self.duplicates, strict=True) if not again]
        return [record for result in fresh for record in result.outgoing]

    def next_offsets(self) -> dict[TopicPartition, int]:
        """Return, for each partition, the offset after the last of its entries."""
        return next_offsets(entry.record for entry in self.entries)

    def take_note(self, published: PublishedEvents, metrics: Metrics) -> None:
        """Remember and count what was published and committed, and tell of what was not, since it was before."""
        num_duplicates = 0
        for entry, result, is_duplicate in zip(self.entries, self.results, self.duplicates, strict=True):
            if result.event is None:
                continue
            source = entry.record.source
            if is_duplicate or not result.outgoing:
                num_duplicates += 1
                _log.info(
                    "event was published before; it is passed over",
                    topic=source.topic,
                    partition=source.partition,
                    offset=entry.record.offset,
                    event_id=result.event.event_id,
                )
            else:
                published.remember(source, result.event)
        num_moderated = len(self.entries) - self.num_dead_letters - num_duplicates
        for kind, number in (("moderated", num_moderated), ("dead_letter", self.num_dead_letters)):
            if number:
                metrics.count("weir_records_published_total", number, kind=kind)
        if num_duplicates:
            metrics.count("weir_duplicate_events_total", num_duplicates)


def convict(
    entries: Sequence[Entry], refused: RefusedRecordsError, replace: Callable[[Record, Result, str], Result]
) -> None:
    """Give the entries whose results the broker refused others; the rest stay.

    Args:
        entries: all that were to be published.
        refused: what the broker says.
        replace: from a record, its result and the reason to what is published instead.

    Raises:
        RefusedRecordsError: `refused`, where it names nothing of these.
    """
    guilty = {id(outgoing) for outgoing in refused.records}
    convicted = [
        (entry, entry.result)
        for entry in entries
        if entry.result is not None and guilty & set(map(id, entry.result.outgoing))
    ]
    if not convicted:
        raise refused
    for entry, result in convicted:
        entry.finish(replace(entry.record, result, refused.reason))
