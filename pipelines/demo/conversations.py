"""The conversations of the demonstration, as the Kafka records they are."""

import gzip
import json
from dataclasses import dataclass
from importlib import resources

_FILE = "conversations.jsonl.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRecord:
    """A Kafka record to produce."""

    key: bytes | None
    """The conversation's id, so that its events keep their order; None where the record does not tell one."""
    value: bytes
    """A conversation event in JSON, or one of the broken records that every platform sees."""


def load_records() -> list[DemoRecord]:
    """Return all records in the order in which they are produced: by `occurred_at`, the broken ones in between."""
    packed = resources.files("pipelines.demo").joinpath(_FILE).read_bytes()
    return [DemoRecord(key=_key(value), value=value) for value in gzip.decompress(packed).split(b"\n") if value]


def _key(value: bytes) -> bytes | None:
    try:
        record = json.loads(value)
    except ValueError:
        return None
    conversation_id = record.get("conversation_id") if isinstance(record, dict) else None
    return conversation_id.encode() if isinstance(conversation_id, str) and conversation_id else None
