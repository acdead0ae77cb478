"""Headers without a value, as kafka-python's producer can be made to write them.

kafka-python 3.0.12 reads such a header and can encode it, but its producer refuses None where it takes headers, and
counts the bytes of every value. So a stand-in goes in, of no bytes, and is taken out again where records are encoded.
"""

from collections.abc import Sequence
from typing import Any

from kafka.producer import record_accumulator  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka.record.memory_records import MemoryRecordsBuilder  # type: ignore[import-untyped]  # no type information

from pipelines.streaming.broker import Headers


class _NoValue(bytes):
    """The value of a header that has none."""

    __slots__ = ()


_NO_VALUE = _NoValue()


def producer_headers(headers: Headers) -> list[tuple[str, bytes]]:
    """Return headers as a producer takes them that `write_headers_without_values` was called for."""
    return [(name, _NO_VALUE if value is None else value) for name, value in headers]


def write_headers_without_values() -> None:
    """Let the producers of this process write what stands for no value as no value. May be called twice.

    Producers that are given no stand-ins write what they always wrote.
    """
    record_accumulator.MemoryRecordsBuilder = _Builder


class _Builder(MemoryRecordsBuilder):  # type: ignore[misc]  # the base class is untyped
    """A batch of records that is being filled."""

    def append(
        self,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> Any:
        if headers:
            headers = [(name, None if isinstance(text, _NoValue) else text) for name, text in headers]
        return super().append(timestamp, key, value, headers)
