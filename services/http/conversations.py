"""`POST /v1/conversations:moderate`: events of the wire format in, moderated conversations out, as on the stream."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.ports import Metrics, Moderates
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Failure, ModeratedConversation
from protector_models.moderation.wire.codec import DecodedEvent, decode_json
from protector_models.moderation.wire.encoded import EncodedVerdict, FailedValue, moderate_decoded
from services.http.bodies import read_json_object, validate
from services.http.door import Visit
from services.http.idempotency import Answer, Idempotency
from services.http.moderations import require_few
from services.http.moderators import Moderators
from services.http.refusals import ErrorBody, RefusedRequestError, refuse_failed, to_error

ROUTE = "/v1/conversations:moderate"
_SHADOW = {"true": True, "1": True, "false": False, "0": False}


class EventBatch(BaseModel):
    """Several events in one call."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    events: Annotated[list[JsonValue], Field(min_length=1, json_schema_extra={"items": {"type": "object"}})]
    """Each as it would be alone."""


class FailedEvent(BaseModel):
    """Stands in a batch for an event that has no verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: str | None
    """None where it could not be read."""
    error: ErrorBody
    """Of what the answer would have been, had it been alone."""


class ModeratedBatch(BaseModel):
    """The results of a batch, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: list[ModeratedConversation | FailedEvent]


async def moderate_events(
    visit: Visit, moderators: Moderators, idempotency: Idempotency, *, max_items: int, metrics: Metrics
) -> Answer:
    """Moderate the event, or the events, that a call has in its body.

    Args:
        visit: the call.
        moderators: moderate them.
        idempotency: remembers answers.
        max_items: events in one call.
        metrics: counts results, and fields that were passed over.

    Raises:
        RefusedRequestError: the body is not as expected, or the one event in it has no verdict.
        DependencyError: a model is away.
    """
    is_shadow = _wants_shadow(visit.request.query_params.get("shadow"))
    moderator = moderators.shadow if is_shadow else moderators.live
    return await visit.wait_for(
        idempotency.answer_once(
            visit.request.headers.get("idempotency-key"),
            b"%d %b" % (is_shadow, visit.body),
            lambda: _answer(visit, moderator, max_items=max_items, metrics=metrics),
            tenant=visit.tenant or "",
            cache=moderators.cache,
        )
    )


async def _answer(visit: Visit, moderator: Moderates, *, max_items: int, metrics: Metrics) -> bytes:
    written = await read_json_object(visit.body)
    is_batch = "events" in written
    events: Sequence[JsonValue] = validate(EventBatch, written).events if is_batch else [written]
    require_few(events, max_items=max_items)
    await visit.charge_items(len(events))
    decoded = await off_loop(len(visit.body), lambda: [_decode(event, visit.tenant) for event in events])
    if not is_batch and isinstance(refused := decoded[0], FailedValue):
        raise refuse_failed(refused.failure)
    results = await moderate_decoded(moderator, decoded, metrics=metrics)
    if not is_batch and isinstance(failed := results[0], FailedValue):
        raise refuse_failed(failed.failure)
    for result in results:
        action = "failed" if isinstance(result, FailedValue) else _action_of(result)
        metrics.count("weir_http_results_total", route=ROUTE, action=action)
    values = [result.value if isinstance(result, EncodedVerdict) else _write_failed(result) for result in results]
    return b'{"results":[%b]}' % b",".join(values) if is_batch else values[0]


def _wants_shadow(written: str | None) -> bool:
    wanted = _SHADOW.get("false" if written is None else written.lower())
    if wanted is None:
        raise RefusedRequestError("invalid_value", "shadow: expected true or false", "shadow")
    return wanted


def _decode(written: JsonValue, tenant: str | None) -> DecodedEvent | FailedValue:
    """Read an event; one that names no tenant is of the caller's.

    Raises:
        RefusedRequestError: it names another one.
    """
    try:
        decoded = decode_json(written)
    except InvalidEventError as error:
        failure = Failure(stage=Stage.DECODE, error="InvalidEvent", message=str(error))
        return FailedValue(event=None, event_id=_find_event_id(written), failure=failure)
    if tenant is None or decoded.event.tenant == tenant:
        return decoded
    if "tenant" in decoded.event.model_fields_set:
        raise RefusedRequestError("tenant_mismatch", "tenant: expected the one of the API key, or none", "tenant")
    return DecodedEvent(event=_of_tenant(decoded.event, tenant), ignored=decoded.ignored)


def _of_tenant(event: ConversationEvent, tenant: str) -> ConversationEvent:
    return event.model_copy(update={"tenant": tenant})


def _find_event_id(written: JsonValue) -> str | None:
    found = written.get("event_id") if isinstance(written, Mapping) else None
    return found if isinstance(found, str) and 1 <= len(found) <= 512 else None


def _action_of(result: EncodedVerdict) -> str:
    return (result.verdict.shadow_action or result.verdict.action).value


def _write_failed(result: FailedValue) -> bytes:
    return to_json(FailedEvent(event_id=result.event_id, error=to_error(refuse_failed(result.failure))))
