"""Moderation of events as bytes: what Kafka records and JSONL lines have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.ports import Metrics, Moderates
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Action, Failure, Outcome, Verdict
from protector_models.moderation.wire.codec import DecodedEvent, decode, encode_moderated, find_event_id
from protector_models.moderation.wire.halving import moderate_isolating


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedVerdict:
    """A moderated conversation on the wire."""

    event: ConversationEvent
    verdict: Verdict
    value: bytes

    @property
    def action(self) -> Action:
        """What is done with the response."""
        return self.verdict.action

    @property
    def cached(self) -> bool:
        """Whether no model was asked."""
        return self.verdict.cached


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedValue:
    """Bytes that did not become a moderated conversation."""

    event: ConversationEvent | None
    """None where the bytes are not an event."""
    event_id: str | None
    """Also of bytes that are no event, where it can be read from them."""
    failure: Failure


async def moderate_encoded(
    moderator: Moderates, values: Sequence[bytes | None], *, max_bytes: int, metrics: Metrics | None = None
) -> list[EncodedVerdict | FailedValue]:
    """Decode, moderate and encode a batch; one result for each value, in order, whatever the values are.

    Args:
        moderator: moderates what can be decoded.
        values: one event each, in JSON.
        max_bytes: a longer value is refused unread.
        metrics: counts what of the messages was passed over.

    Raises:
        DependencyError: a model is gone or late; nothing was decided.
    """
    return await moderate_decoded(moderator, await decode_values(values, max_bytes=max_bytes), metrics=metrics)


async def decode_values(values: Sequence[bytes | None], *, max_bytes: int) -> list[DecodedEvent | FailedValue]:
    """Decode each value; one that is longer than `max_bytes` is refused unread. Many bytes are read beside the loop."""
    size = sum(min(len(value), max_bytes) for value in values if value is not None)
    return await off_loop(size, lambda: [_decode(value, max_bytes) for value in values])


async def moderate_decoded(
    moderator: Moderates, decoded: Sequence[DecodedEvent | FailedValue], *, metrics: Metrics | None = None
) -> list[EncodedVerdict | FailedValue]:
    """Moderate and encode the events among what was decoded; what is none stays as it is.

    Args:
        moderator: moderates the events.
        decoded: events, and what is none.
        metrics: counts what of the messages was passed over.

    Raises:
        DependencyError: a model is gone or late; nothing was decided.
    """
    events = [entry.event for entry in decoded if isinstance(entry, DecodedEvent)]
    outcomes = await moderate_isolating(moderator, events)
    encoded = iter(await encode_outcomes(events, outcomes))
    results = [entry if isinstance(entry, FailedValue) else next(encoded) for entry in decoded]
    # Only now: a batch that raises is tried again, and would count twice.
    if metrics is not None:
        count_ignored(decoded, metrics)
    return results


def count_ignored(decoded: Sequence[DecodedEvent | FailedValue], metrics: Metrics) -> None:
    """Count what of the messages was passed over, of a batch that came to its end."""
    num_ignored = sum(entry.ignored for entry in decoded if isinstance(entry, DecodedEvent))
    if num_ignored:
        metrics.count("weir_message_fields_ignored_total", num_ignored)


def _decode(value: bytes | None, max_bytes: int) -> DecodedEvent | FailedValue:
    try:
        return decode(value, max_bytes=max_bytes)
    except InvalidEventError as error:
        failure = Failure(stage=Stage.DECODE, error="InvalidEvent", message=str(error))
        return FailedValue(event=None, event_id=find_event_id(value, max_bytes=max_bytes), failure=failure)


async def encode_outcomes(
    events: Sequence[ConversationEvent], outcomes: Sequence[Outcome]
) -> list[EncodedVerdict | FailedValue]:
    """Return how each event ended, on the wire; a verdict that has no such form is a failure.

    Long responses are written beside the loop.
    """
    ended = list(zip(events, outcomes, strict=True))
    return await off_loop(sum(map(_size, outcomes)), lambda: [_encode(event, outcome) for event, outcome in ended])


def _size(outcome: Outcome) -> int:
    return 0 if isinstance(outcome, Failure) else len(outcome.response or "") + len(outcome.original_response or "")


def _encode(event: ConversationEvent, outcome: Outcome) -> EncodedVerdict | FailedValue:
    if isinstance(outcome, Failure):
        return FailedValue(event=event, event_id=event.event_id, failure=outcome)
    try:
        value = encode_moderated(event, outcome)
    except ValueError as error:
        failure = Failure(stage=Stage.PUBLISH, error="UnencodableVerdict", message=str(error))
        return FailedValue(event=event, event_id=event.event_id, failure=failure)
    return EncodedVerdict(event=event, verdict=outcome, value=value)
