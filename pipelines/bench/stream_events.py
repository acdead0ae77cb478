"""What the stream is shown in a benchmark: the conversations that Weir ships, as records with ids of their own."""

import json
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from pipelines.demo.conversations import load_records
from pipelines.streaming.broker import OutgoingRecord
from protector_models.moderation.errors import InvalidEventError, WeirError
from protector_models.moderation.fingerprint import exchange_fingerprint
from protector_models.moderation.wire.codec import decode_event

_MAX_BYTES = 1_000_000

Conversation: TypeAlias = dict[str, object]
"""An event as JSON."""


class BenchmarkError(WeirError):
    """What was measured is not what was meant to be measured."""


def distinct_conversations(number: int) -> list[Conversation]:
    """Return events with distinct exchanges from the conversations that Weir ships.

    Raises:
        BenchmarkError: there are not so many.
    """
    distinct: dict[str, Conversation] = {}
    for record in load_records():
        try:
            event = decode_event(record.value, max_bytes=_MAX_BYTES)
        except InvalidEventError:
            continue
        if event.response is not None:
            distinct.setdefault(exchange_fingerprint(event.exchange(event.response)), json.loads(record.value))
    if len(distinct) < number:
        raise BenchmarkError(f"there are {len(distinct)} distinct conversations; expected at least {number}")
    return list(distinct.values())[:number]


def make_records(conversations: Sequence[Conversation], run: str, number: int) -> Iterator[OutgoingRecord]:
    """Yield records with ids of their own, going round the conversations."""
    for position in range(number):
        event = conversations[position % len(conversations)] | {"event_id": f"{run}-{position}"}
        yield _record(event)


def make_unseen_records(conversations: Sequence[Conversation], run: str, number: int) -> Iterator[OutgoingRecord]:
    """Yield records as above, each with a response that nobody has seen: it ends with its own number."""
    for position in range(number):
        event = conversations[position % len(conversations)]
        yield _record(event | {"event_id": f"{run}-{position}", "response": f"{event['response']} ({run} {position})"})


def _record(event: Conversation) -> OutgoingRecord:
    value = json.dumps(event, ensure_ascii=False).encode()
    return OutgoingRecord(topic="", key=str(event["conversation_id"]).encode(), value=value)
