"""The wire format: JSON in UTF-8, one object per Kafka record or JSONL line."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.verdict import ModeratedConversation, Verdict

_ERRORS_SHOWN = 3

_FIELDS_SHOWN = frozenset({"schema_version", "occurred_at", "role", "type"})
"""Fields whose offending value may be told in a message: they cannot hold a text of the conversation."""


def decode_event(value: bytes | None, *, max_bytes: int) -> ConversationEvent:
    """Read one conversation event.

    Args:
        value: the bytes of one record or line; None where a record has no value.
        max_bytes: more than this is refused unread.

    Raises:
        InvalidEventError: the message names the fields at fault and what was expected, not what the conversation says.
    """
    if value is None:
        raise InvalidEventError("the record has no value; expected a JSON object")
    if len(value) > max_bytes:
        raise InvalidEventError(f"{len(value)} bytes; expected at most {max_bytes}")
    try:
        return ConversationEvent.model_validate_json(value)
    except ValidationError as error:
        # `from None`: the cause would carry the conversation into tracebacks and logs.
        raise InvalidEventError(_describe(error)) from None
    except RecursionError:
        raise InvalidEventError("nested too deeply") from None


def encode_moderated(event: ConversationEvent, verdict: Verdict) -> bytes:
    """Write one moderated conversation. Equal arguments give equal bytes.

    Raises:
        ValueError: the verdict holds text that has no UTF-8 form, such as a lone surrogate from an MLLM.
    """
    # Both parts are validated already; validating them again would cost more than all the rest of this function.
    moderated = ModeratedConversation.model_construct(
        schema_version=event.schema_version,
        event_id=event.event_id,
        conversation_id=event.conversation_id,
        tenant=event.tenant,
        occurred_at=event.occurred_at,
        **verdict.__dict__,
    )
    try:
        return moderated.model_dump_json().encode()
    except (PydanticSerializationError, UnicodeError):
        raise ValueError("the response has no UTF-8 form; expected text without lone surrogates") from None


def _describe(error: ValidationError) -> str:
    details = error.errors(include_url=False, include_context=False)
    shown = "; ".join(_describe_one(detail) for detail in details[:_ERRORS_SHOWN])
    hidden = len(details) - _ERRORS_SHOWN
    return f"{shown}; and {hidden} more" if hidden > 0 else shown


def _describe_one(detail: ErrorDetails) -> str:
    # A union names its members in the location: noise for whoever wrote the event.
    path = ".".join(str(step)[:60] for step in detail["loc"] if not str(step).startswith(("tuple[", "str")))
    message = detail["msg"]
    value = detail["input"]
    field = str(detail["loc"][-1]) if detail["loc"] else ""
    if detail["type"] == "missing":
        got = ""
    elif field in _FIELDS_SHOWN and isinstance(value, str | int | float):
        got = f", got {str(value)[:60]!r}"
    else:
        got = f", got {type(value).__name__}" if detail["type"] != "json_invalid" else ""
    return f"{path}: {message}{got}" if path else f"{message}{got}"
