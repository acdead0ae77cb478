"""From the records of a micro-batch to what is published for them: one result per record, whatever the record is."""

from collections.abc import Mapping, Sequence

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_random_exponential

from pipelines.codec import decode_event, decode_failure, encode_moderated
from pipelines.streaming.broker import OutgoingRecord, Record
from pipelines.streaming.dead_letter import RECORD_OVERHEAD_BYTES, dead_letter, original_headers
from pipelines.streaming.in_flight import Result
from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import DependencyError, InvalidEventError
from protector_models.moderation.moderator import moderate_isolating
from protector_models.moderation.ports import Metrics, Moderates
from protector_models.moderation.verdict import Failure, Outcome, Stage

_log = structlog.get_logger(__name__)


class RecordProcessor:
    """Decodes, moderates and encodes micro-batches. Holds no state between them."""

    def __init__(
        self, *, moderator: Moderates, settings: StreamSettings, versions: Mapping[str, str], metrics: Metrics
    ) -> None:
        self._moderator = moderator
        self._settings = settings
        self._versions = versions
        self._metrics = metrics

    async def process(self, records: Sequence[Record]) -> list[Result]:
        """Return the result for each record, in order. A dependency that is away is waited for, with backoff.

        Raises:
            DependencyError: it stayed away for longer than the settings allow.
        """
        decoded = [self._decode(record) for record in records]
        events = [event for event in decoded if isinstance(event, ConversationEvent)]
        outcomes = iter(await self._moderate(events))
        return [
            self._failed(record, entry)
            if isinstance(entry, Failure)
            else self._concluded(record, entry, next(outcomes))
            for record, entry in zip(records, decoded, strict=True)
        ]

    def _decode(self, record: Record) -> ConversationEvent | Failure:
        try:
            return decode_event(record.value, max_bytes=self._settings.event_max_bytes)
        except InvalidEventError as error:
            return decode_failure(error)

    async def _moderate(self, events: Sequence[ConversationEvent]) -> list[Outcome]:
        if not events:
            return []
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(DependencyError),
            wait=wait_random_exponential(multiplier=self._settings.retry_initial_s, max=self._settings.retry_max_s),
            stop=stop_after_delay(self._settings.retry_give_up_s),
            before_sleep=self._note_retry,
            reraise=True,
        )
        return await retrying(moderate_isolating, self._moderator, events)

    def _note_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._metrics.count("weir_batch_retries_total", error=type(error).__name__)
        _log.warning(
            "batch is tried again", attempt=state.attempt_number, error=type(error).__name__, reason=str(error)
        )

    def _concluded(self, record: Record, event: ConversationEvent, outcome: Outcome) -> Result:
        if isinstance(outcome, Failure):
            return self._failed(record, outcome, event_id=event.event_id)
        try:
            value = encode_moderated(event, outcome)
        except ValueError as error:
            failure = Failure(stage=Stage.PUBLISH, error="UnencodableVerdict", message=str(error))
            return self._failed(record, failure, event_id=event.event_id)
        outgoing = OutgoingRecord(
            topic=self._settings.sink_topic,
            key=event.conversation_id.encode("utf-8", "surrogatepass"),
            value=value,
            headers=original_headers(record.headers),
        )
        if outgoing.size_bytes() + RECORD_OVERHEAD_BYTES > self._settings.record_max_bytes:
            failure = Failure(
                stage=Stage.PUBLISH,
                error="RecordTooLarge",
                message=f"the moderated conversation has {outgoing.size_bytes()} bytes; expected at most "
                f"{self._settings.record_max_bytes - RECORD_OVERHEAD_BYTES} (stream.record_max_bytes)",
            )
            return self._failed(record, failure, event_id=event.event_id)
        return Result(outgoing=outgoing, is_dead_letter=False)

    def _failed(self, record: Record, failure: Failure, *, event_id: str | None = None) -> Result:
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
        letter = dead_letter(
            record,
            failure,
            topic=self._settings.dead_letters.topic,
            group=self._settings.group,
            versions=self._versions,
            record_max_bytes=self._settings.record_max_bytes,
        )
        return Result(outgoing=letter, is_dead_letter=True)
