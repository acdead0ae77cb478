"""From the records of a micro-batch to what is published for them: one result per record, whatever the record is."""

from collections.abc import Mapping, Sequence

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_random_exponential

from pipelines.encoded import EncodedVerdict, FailedValue, moderate_encoded
from pipelines.streaming.broker import OutgoingRecord, Record
from pipelines.streaming.dead_letter import RECORD_OVERHEAD_BYTES, dead_letter, original_headers
from pipelines.streaming.in_flight import Result
from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import DependencyError
from protector_models.moderation.ports import Metrics, Moderates
from protector_models.moderation.verdict import Failure, Stage

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
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(DependencyError),
            wait=wait_random_exponential(multiplier=self._settings.retry_initial_s, max=self._settings.retry_max_s),
            stop=stop_after_delay(self._settings.retry_give_up_s),
            before_sleep=self._note_retry,
            reraise=True,
        )
        encoded: list[EncodedVerdict | FailedValue] = await retrying(
            moderate_encoded,
            self._moderator,
            [record.value for record in records],
            max_bytes=self._settings.event_max_bytes,
        )
        return [self._result(record, entry) for record, entry in zip(records, encoded, strict=True)]

    def _note_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._metrics.count("weir_batch_retries_total", error=type(error).__name__)
        _log.warning(
            "batch is tried again", attempt=state.attempt_number, error=type(error).__name__, reason=str(error)
        )

    def _result(self, record: Record, entry: EncodedVerdict | FailedValue) -> Result:
        if isinstance(entry, FailedValue):
            return self._failed(record, entry.event, entry.failure)
        outgoing = OutgoingRecord(
            topic=self._settings.sink_topic,
            key=entry.event.conversation_id.encode(),
            value=entry.value,
            headers=original_headers(record.headers),
        )
        if outgoing.size_bytes() + RECORD_OVERHEAD_BYTES > self._settings.record_max_bytes:
            failure = Failure(
                stage=Stage.PUBLISH,
                error="RecordTooLarge",
                message=f"the moderated conversation has {outgoing.size_bytes()} bytes; expected at most "
                f"{self._settings.record_max_bytes - RECORD_OVERHEAD_BYTES} (stream.record_max_bytes)",
            )
            return self._failed(record, entry.event, failure)
        return Result(outgoing=outgoing, is_dead_letter=False)

    def _failed(self, record: Record, event: ConversationEvent | None, failure: Failure) -> Result:
        if failure.stage in {Stage.DECODE, Stage.PUBLISH}:  # the Moderator counts its own
            self._metrics.count("weir_failures_total", stage=failure.stage.value, error=failure.error)
        _log.info(
            "dead letter",
            topic=record.source.topic,
            partition=record.source.partition,
            offset=record.offset,
            event_id=None if event is None else event.event_id,
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
