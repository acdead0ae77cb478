"""Records that kafka-python cannot read: each becomes a record without a value, and the ones after it are read.

kafka-python 3.0.12 has two faults that one such record brings out. Once the generator that unpacks a fetched batch has
raised, it is exhausted, but the fetcher keeps it and asks it for records for ever, in a loop that nothing ends. And a
partition never gets past the record, since every fetch of it fails alike.
"""

from collections.abc import Generator
from typing import Any

from kafka.consumer.fetcher import Fetcher  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka.errors import CorruptRecordError  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka.record.default_records import (  # type: ignore[import-untyped]  # kafka-python ships no type information
    DefaultRecord,
    DefaultRecordBatch,
)
from kafka.record.util import decode_varint  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.broker import UNREADABLE_HEADER


def read_past_unreadable_records(consumer: Any) -> None:
    """Let a new consumer's `poll` give a record without a value, with `UNREADABLE_HEADER`, for one it cannot read."""
    consumer._fetcher.PartitionRecords = _PartitionRecords


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # the base class is untyped
    """What was fetched of one partition; dropped as soon as it fails, to be fetched again from where it had got to."""

    def take(self, n: int | None = None) -> list[Any]:
        try:
            taken: list[Any] = super().take(n)
        except BaseException:
            self.drain()
            raise
        return taken

    def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Generator[Any, None, None]:
        unpacked: Generator[Any, None, None] = super()._unpack_records(tp, _Batches(records), *deserializers)
        return unpacked


class _Batches:
    """Fetched batches, those with records of the current format as `_Batch`."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        if not isinstance(batch, DefaultRecordBatch) or batch.is_control_batch:
            return batch
        return _Batch(batch._buffer)


class _Batch(DefaultRecordBatch):  # type: ignore[misc]  # the base class is untyped
    """A batch in which a record that cannot be read is one without a value."""

    _pos: int

    def __init__(self, buffer: bytearray) -> None:
        super().__init__(buffer)
        self._next_offset = self.base_offset
        self._broken: Exception | None = None
        """Why nothing more of the batch can be read."""

    def __iter__(self) -> "_Batch":
        try:
            self._maybe_uncompress()
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  (each codec has errors of its own)
            self._broken = error
        return self

    def __next__(self) -> Any:
        if self._broken is None:
            try:
                record = super().__next__()
            except CorruptRecordError as error:
                record = self._skip(error)
        else:
            record = self._stand_in(self._broken)
        self._next_offset = record.offset + 1
        return record

    def _skip(self, error: Exception) -> Any:
        """Go on behind the record that could not be read, if its frame tells where that is."""
        try:
            length, start = decode_varint(self._buffer, self._pos)
            _, pos = decode_varint(self._buffer, start)
            _, pos = decode_varint(self._buffer, pos)
            offset_delta, pos = decode_varint(self._buffer, pos)
            key_length, pos = decode_varint(self._buffer, pos)
        except (ValueError, IndexError):
            return self._break(error)
        end = start + length
        offset = self.base_offset + offset_delta
        if not (pos <= end <= len(self._buffer) and self._next_offset <= offset <= self.last_offset):
            return self._break(error)
        self._pos = end
        self._next_offset = offset
        return self._stand_in(error, key=bytes(self._buffer[pos : pos + key_length]) if key_length >= 0 else None)

    def _break(self, error: Exception) -> Any:
        self._broken = error
        return self._stand_in(error)

    def _stand_in(self, error: Exception, *, key: bytes | None = None) -> Any:
        if self._next_record_index >= self._num_records:
            raise StopIteration
        self._next_record_index += 1
        reason = f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:1_000]
        headers = [(UNREADABLE_HEADER, reason)]
        return DefaultRecord(0, self._next_offset, self.max_timestamp, self.timestamp_type, key, None, headers)
