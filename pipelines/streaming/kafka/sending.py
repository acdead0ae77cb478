"""Records on their way through a kafka-python producer, and which of them the brokers will never take."""

import time
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from kafka.errors import (  # type: ignore[import-untyped]  # kafka-python ships no type information
    InvalidRecordError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownError,
)

from pipelines.streaming.broker import OutgoingRecord, RefusedRecordsError
from pipelines.streaming.kafka.headers import producer_headers

_REFUSALS = (InvalidRecordError, MessageSizeTooLargeError, RecordListTooLargeError)


class Sending:
    """What one publish sends. Within its context kafka-python's errors that single records out name those records."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._sent: list[tuple[OutgoingRecord, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A transaction that has failed of one record fails whatever is done next: look what became of those before.
        if isinstance(error, KafkaError):
            refused = [(record, future.exception) for record, future in self._sent if _is_refused(future)]
            if refused:
                raise RefusedRecordsError(_reason(refused[0][1]), [record for record, _ in refused]) from error

    def send(self, records: Iterable[OutgoingRecord]) -> None:
        """Hand records to the producer.

        Raises:
            RefusedRecordsError: it does not take one of them.
            KafkaError: there is no such topic, or something failed before.
        """
        for record in records:
            self._sent.append((record, send_record(self._producer, record)))

    def wait(self, *, deadline: float) -> None:
        """Wait until the brokers have all that was sent.

        Args:
            deadline: when to stop waiting, by the monotonic clock.

        Raises:
            KafkaError: they refused a record, or did not take it in time.
        """
        if self._sent:
            # It counts a batch that was too large and goes out again in parts as one that failed.
            with suppress(UnknownError):
                self._producer.flush(timeout=max(0.0, deadline - time.monotonic()))
        failure: KafkaError | None = None
        for _, future in self._sent:
            try:
                future.get(timeout=max(0.0, deadline - time.monotonic()))
            except KafkaTimeoutError:
                raise
            except KafkaError as error:
                failure = failure or error
        if failure is not None:
            raise failure


def send_record(producer: Any, record: OutgoingRecord) -> Any:
    """Hand a record to a producer; return kafka-python's future of its acknowledgement.

    Raises:
        RefusedRecordsError: the producer does not take it.
        KafkaError: there is no such topic, or something failed before.
    """
    headers = producer_headers(record.headers)
    try:
        return producer.send(record.topic, record.value, record.key, headers, partition=record.partition)
    except (ValueError, TypeError, MessageSizeTooLargeError) as error:
        raise RefusedRecordsError(_reason(error), [record]) from error


def _is_refused(future: Any) -> bool:
    """Return whether the broker refused this very record, and not others of whose failure it was given up.

    kafka-python 3.0.12 gives both the same error; but only what a broker has answered for has no offset, and what was
    given up has one of -1.
    """
    return (
        future.is_done
        and future.failed()
        and isinstance(future.exception, _REFUSALS)
        and future._produce_future.value[0] is None
    )


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
