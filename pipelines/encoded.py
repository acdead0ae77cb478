"""Moderation of events as bytes: what Kafka records and JSONL lines have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.codec import decode_event, encode_moderated
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.isolation import moderate_isolating
from protector_models.moderation.ports import Moderates
from protector_models.moderation.verdict import Action, Failure, Outcome, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedVerdict:
    """A moderated conversation on the wire."""

    event: ConversationEvent
    action: Action
    cached: bool
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedValue:
    """Bytes that did not become a moderated conversation."""

    event: ConversationEvent | None
    """None where the bytes are not an event."""
    failure: Failure


async def moderate_encoded(
    moderator: Moderates, values: Sequence[bytes | None], *, max_bytes: int
) -> list[EncodedVerdict | FailedValue]:
    """Decode, moderate and encode a batch; one result for each value, in order, whatever the values are.

    Args:
        moderator: moderates what can be decoded.
        values: one event each, in JSON.
        max_bytes: a longer value is refused unread.

    Raises:
        DependencyError: a model is gone or late; nothing was decided.
    """
    decoded = [_decode(value, max_bytes) for value in values]
    events = [event for event in decoded if isinstance(event, ConversationEvent)]
    outcomes = iter(await moderate_isolating(moderator, events))
    return [entry if isinstance(entry, FailedValue) else _encode(entry, next(outcomes)) for entry in decoded]


def _decode(value: bytes | None, max_bytes: int) -> ConversationEvent | FailedValue:
    try:
        return decode_event(value, max_bytes=max_bytes)
    except InvalidEventError as error:
        failure = Failure(stage=Stage.DECODE, error="InvalidEvent", message=str(error))
        return FailedValue(event=None, failure=failure)


def _encode(event: ConversationEvent, outcome: Outcome) -> EncodedVerdict | FailedValue:
    if isinstance(outcome, Failure):
        return FailedValue(event=event, failure=outcome)
    try:
        value = encode_moderated(event, outcome)
    except ValueError as error:
        failure = Failure(stage=Stage.PUBLISH, error="UnencodableVerdict", message=str(error))
        return FailedValue(event=event, failure=failure)
    return EncodedVerdict(event=event, action=outcome.action, cached=outcome.cached, value=value)
