"""From the records of a micro-batch to what is published for them: one result per record, whatever the record is."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog

from pipelines.streaming.broker import OutgoingRecord, Record
from pipelines.streaming.dead_letter import (
    LEAST_RECORD_BYTES,
    RECORD_OVERHEAD_BYTES,
    dead_letter,
    failure_of,
    original_headers,
)
from pipelines.streaming.outlets import Outlets
from pipelines.streaming.published_events import EventKey, PublishedEvents
from pipelines.streaming.results import Result, Unwritten
from pipelines.streaming.settings import StreamSettings
from pipelines.streaming.versions import Versions
from protector_models.moderation.conclusions import Decided
from protector_models.moderation.errors import ConfigurationError, DependencyError, ModelUnavailableError
from protector_models.moderation.ports import Metrics
from protector_models.moderation.stages import Stage
from protector_models.moderation.steps import ModeratesInSteps
from protector_models.moderation.verdict import Failure
from protector_models.moderation.wire.codec import DecodedEvent
from protector_models.moderation.wire.encoded import (
    EncodedVerdict,
    FailedValue,
    count_ignored,
    decode_values,
    encode_outcomes,
)
from protector_models.moderation.wire.halving import run_isolating, shown_content
from services.patience import Patience, report_batch_retries

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class RecordProcessor:
    """Decodes, moderates and encodes micro-batches. Holds no state between them but who moderates the next one."""

    def __init__(
        self, *, moderator: ModeratesInSteps, settings: StreamSettings, versions: Versions, metrics: Metrics
    ) -> None:
        """Put it together.

        Args:
            moderator: decides and rewrites.
            settings: topics and bounds.
            versions: asked for each dead letter.
            metrics: counts failures and tries.
        """
        self._moderator = moderator
        self._settings = settings
        self._outlets = Outlets.of(settings)
        self._versions = versions
        self._metrics = metrics
        self._patience = Patience.from_settings(settings)
        self._report = report_batch_retries(_log, "batch is tried again", metrics)

    def use(self, moderator: ModeratesInSteps) -> None:
        """Have another Moderator decide what comes next; micro-batches that are being decided keep theirs."""
        self._moderator = moderator

    async def decide(self, records: Sequence[Record], *, published: PublishedEvents) -> list[Result | Unwritten]:
        """Return the result for each record, in order, as far as there is one without rewriting a response.

        A dependency that is away is waited for, with backoff.

        Args:
            records: of a micro-batch.
            published: events that need not be moderated again.

        Raises:
            DependencyError: it stayed away for longer than the settings allow.
        """
        decoded = await decode_values([record.value for record in records], max_bytes=self._settings.event_max_bytes)
        known = [
            isinstance(entry, DecodedEvent) and published.knows(record.source, EventKey.of(entry.event))
            for record, entry in zip(records, decoded, strict=True)
        ]
        fresh = [entry for entry, is_known in zip(decoded, known, strict=True) if not is_known]
        events = [entry.event for entry in fresh if isinstance(entry, DecodedEvent)]
        isolated = partial(run_isolating, stage=Stage.ASSESS, content=shown_content)
        ends = await self._try(partial(isolated, self._moderator.decide, events))
        left = iter(ends)
        ended = [(event, end) for event, end in zip(events, ends, strict=True) if not isinstance(end, Decided)]
        encoded = iter(await encode_outcomes([event for event, _ in ended], [outcome for _, outcome in ended]))
        count_ignored(fresh, self._metrics)
        results: list[Result | Unwritten] = []
        for record, entry, is_known in zip(records, decoded, known, strict=True):
            if isinstance(entry, FailedValue):
                results.append(self._result(record, entry))
            elif is_known:
                results.append(Result(outgoing=(), is_dead_letter=False, event=EventKey.of(entry.event)))
            elif isinstance(end := next(left), Decided):
                results.append(Unwritten(record=record, event=entry.event, decided=end))
            else:
                results.append(self._result(record, next(encoded)))
        return results

    async def rewrite(self, unwritten: Sequence[Unwritten]) -> list[Result]:
        """Return the results of records whose responses are to be rewritten, in order, in the same way.

        Raises:
            DependencyError: as in `decide`.
        """
        decided = [one.decided for one in unwritten]
        isolated = partial(run_isolating, stage=Stage.REWRITE, content=lambda one: one.answered.exchange)
        outcomes = await self._try(partial(isolated, self._moderator.rewrite, decided))
        encoded = await encode_outcomes([one.event for one in unwritten], outcomes)
        return [self._result(one.record, entry) for one, entry in zip(unwritten, encoded, strict=True)]

    def refused(self, record: Record, result: Result, reason: str) -> Result:
        """Return what is published in place of a result that the broker does not take: a dead letter, or a shorter one.

        Args:
            record: as it was read.
            result: what was to be published for it.
            reason: what the broker has against it, without text of the conversation.

        Raises:
            ConfigurationError: it takes no dead letter, however short.
        """
        if not result.is_dead_letter:
            event_id = None if result.event is None else result.event.event_id
            failure = Failure(stage=Stage.PUBLISH, error="RecordRefused", message=reason)
            return self._failed(record, event_id, failure)
        (refused,) = result.outgoing
        letter = self._letter(record, failure_of(refused), record_max_bytes=LEAST_RECORD_BYTES)
        if letter.size_bytes() >= refused.size_bytes():
            raise ConfigurationError(
                f"{self._outlets.dead_letters} does not take a dead letter of {refused.size_bytes()} bytes: {reason}"
            )
        return Result(outgoing=(letter,), is_dead_letter=True)

    async def _try(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call until no dependency is away, as patiently as the settings say."""

        async def attempt() -> T:
            try:
                return await call()
            except asyncio.CancelledError as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                # A client that gave its own call up: nobody asked us to.
                raise ModelUnavailableError("a call was cancelled from within") from error

        return await self._patience.keep_trying(attempt, after=DependencyError, report=self._report)

    def _result(self, record: Record, entry: EncodedVerdict | FailedValue) -> Result:
        if isinstance(entry, FailedValue):
            return self._failed(record, entry.event_id, entry.failure)
        moderated = OutgoingRecord(
            topic=self._outlets.moderated,
            key=entry.event.conversation_id.encode(),
            value=entry.value,
            headers=original_headers(record.headers),
        )
        # Of every copy: the topic is no part of what a broker counts.
        size_bytes = moderated.size_bytes()
        if size_bytes + RECORD_OVERHEAD_BYTES > self._settings.record_max_bytes:
            failure = Failure(
                stage=Stage.PUBLISH,
                error="RecordTooLarge",
                message=f"the moderated conversation has {size_bytes} bytes; expected at most "
                f"{self._settings.record_max_bytes - RECORD_OVERHEAD_BYTES} (stream.record_max_bytes)",
            )
            return self._failed(record, entry.event.event_id, failure)
        outgoing = tuple(replace(moderated, topic=topic) for topic in self._outlets.for_action(entry.verdict.action))
        return Result(outgoing=outgoing, is_dead_letter=False, event=EventKey.of(entry.event))

    def _failed(self, record: Record, event_id: str | None, failure: Failure) -> Result:
        if failure.stage in {Stage.DECODE, Stage.PUBLISH}:  # the Moderator counts its own
            self._metrics.count("weir_failures_total", stage=failure.stage.value, error=failure.error)
        _log.info(
            "dead letter",
            topic=record.source.topic,
            partition=record.source.partition,
            offset=record.offset,
            event_id=event_id,
            stage=failure.stage.value,
            error=failure.error,
            reason=failure.message,
        )
        letter = self._letter(record, failure, record_max_bytes=self._settings.record_max_bytes)
        return Result(outgoing=(letter,), is_dead_letter=True)

    def _letter(self, record: Record, failure: Failure, *, record_max_bytes: int) -> OutgoingRecord:
        return dead_letter(
            record,
            failure,
            topic=self._outlets.dead_letters,
            group=self._settings.group,
            versions=self._versions(),
            record_max_bytes=record_max_bytes,
        )
