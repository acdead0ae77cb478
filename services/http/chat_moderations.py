"""`POST /v1/chat/moderations`: the last turn of the assistant, judged in the light of the conversation before it."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.messages.dialects import layers_of, role_of
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.one_turn import ANY_TIME
from protector_models.moderation.policy.policy import DEFAULT_TENANT
from protector_models.moderation.ports import Metrics
from protector_models.moderation.wire.codec import DecodedEvent, decode_json
from protector_models.moderation.wire.encoded import count_ignored
from services.http.bodies import read_json_object, validate
from services.http.door import Visit
from services.http.moderations import count_results, judge, require_few, require_model, write_answer
from services.http.moderators import Moderators
from services.http.refusals import RefusedRequestError

ROUTE = "/v1/chat/moderations"


class ChatModerationRequest(BaseModel):
    """Conversations to judge."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    input: Annotated[list[JsonValue], Field(min_length=1, json_schema_extra={"items": {"type": ["object", "array"]}})]
    """The messages of a conversation, oldest first and an assistant's last, as an SDK writes them; or a list of such
    conversations, with a result for each."""
    model: str | None = None
    """As in `/v1/moderations`."""


async def moderate_conversations(visit: Visit, moderators: Moderators, *, max_items: int, metrics: Metrics) -> bytes:
    """Judge the conversations that a call has in its body, and return the answer: a `ModerationAnswer` in JSON.

    Args:
        visit: the call.
        moderators: judge them.
        max_items: conversations in one call.
        metrics: counts results, and fields that were passed over.

    Raises:
        RefusedRequestError: the body is not as expected, or some conversation cannot be judged.
        DependencyError: a model is away.
    """
    asked = validate(ChatModerationRequest, await read_json_object(visit.body))
    require_model(asked.model, moderators)
    is_batch = isinstance(asked.input[0], list)
    conversations: Sequence[JsonValue] = asked.input if is_batch else [asked.input]
    require_few(conversations, max_items=max_items)
    await visit.charge_items(len(conversations))
    tenant = visit.tenant or DEFAULT_TENANT
    decoded = await off_loop(
        len(visit.body),
        lambda: [
            _decode(
                messages,
                name=f"{visit.id}-{position}",
                tenant=tenant,
                param=f"input[{position}]" if is_batch else "input",
            )
            for position, messages in enumerate(conversations)
        ],
    )
    verdicts = await judge(visit, moderators.shadow, [entry.event for entry in decoded])
    count_ignored(decoded, metrics)
    count_results(metrics, ROUTE, verdicts)
    return await write_answer(visit.id, verdicts, moderators.policy.for_tenant(tenant), model=moderators.detector)


def _decode(messages: JsonValue, *, name: str, tenant: str, param: str) -> DecodedEvent:
    """Read a conversation by the decoder of the wire format: what is there a response is its last turn here."""
    if not isinstance(messages, list):
        raise RefusedRequestError(
            "invalid_value", f"{param}: expected a list of messages, got {type(messages).__name__}", param
        )
    num_before = _find_last_turn(messages, param)
    turn = messages[num_before:]
    try:
        return decode_json(
            {
                "schema_version": 1,
                "event_id": name,
                "conversation_id": name,
                "tenant": tenant,
                "occurred_at": ANY_TIME.isoformat(),
                "messages": messages[:num_before],
                "response": turn[0] if len(turn) == 1 else turn,
            }
        )
    except InvalidEventError as error:
        raise RefusedRequestError("invalid_value", f"{param}: {error}", param) from None


def _find_last_turn(messages: Sequence[JsonValue], param: str) -> int:
    """Return how many messages stand before the assistant's at the end.

    Raises:
        RefusedRequestError: there are none of an assistant's at the end: nothing of it could be judged.
    """
    num_before = len(messages)
    while num_before and _is_assistants(messages[num_before - 1], f"{param}[{num_before - 1}]"):
        num_before -= 1
    if num_before == len(messages):
        raise RefusedRequestError(
            "invalid_value",
            f"{param}: expected an assistant's message at the end; a text by itself goes to /v1/moderations",
            param,
        )
    return num_before


def _is_assistants(message: JsonValue, param: str) -> bool:
    if not isinstance(message, dict):
        raise RefusedRequestError("invalid_value", f"{param}: expected an object, got {type(message).__name__}", param)
    return role_of(layers_of(message)) == "assistant"
