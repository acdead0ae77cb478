"""Builds records as they are read."""

from pipelines.streaming.broker import Headers, OutgoingRecord, Record, TopicPartition


def record(
    offset: int = 0,
    *,
    topic: str = "in",
    partition: int = 0,
    key: bytes | None = b"key",
    value: bytes | None = b"value",
    headers: Headers = (),
) -> Record:
    """Build a record that was read."""
    return Record(
        source=TopicPartition(topic, partition),
        offset=offset,
        timestamp_ms=1_700_000_000_000,
        key=key,
        value=value,
        headers=headers,
    )


def as_read(outgoing: OutgoingRecord, *, offset: int = 0, partition: int = 0) -> Record:
    """Return a published record as its reader sees it."""
    return record(
        offset,
        topic=outgoing.topic,
        partition=partition,
        key=outgoing.key,
        value=outgoing.value,
        headers=outgoing.headers,
    )
