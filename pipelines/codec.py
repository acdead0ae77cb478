"""The wire format: JSON in UTF-8, one object per Kafka record or JSONL line."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.verdict import EventIdentity, Verdict

_ERRORS_SHOWN = 3
_ERRORS_LOOKED_AT = 1_000
"""Describing an error takes about 500 bytes, and a large event may hold millions of them."""

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
    # The two parts of a `ModeratedConversation`, one after the other: making one of them first, even without validating
    # it, would cost more than all the rest of this function.
    identity = EventIdentity.model_construct(
        schema_version=event.schema_version,
        event_id=event.event_id,
        conversation_id=event.conversation_id,
        tenant=event.tenant,
        occurred_at=event.occurred_at,
    )
    try:
        return f"{identity.model_dump_json()[:-1]},{verdict.model_dump_json()[1:]}".encode()
    except (PydanticSerializationError, UnicodeError):
        raise ValueError("the response has no UTF-8 form; expected text without lone surrogates") from None


def _describe(error: ValidationError) -> str:
    if error.error_count() > _ERRORS_LOOKED_AT:
        return f"{error.error_count()} errors; expected a conversation event"
    # A list whose items are at fault counts as too short as well: noise where it is not empty.
    details = [
        detail for detail in error.errors(include_url=False) if detail["type"] != "too_short" or not detail["input"]
    ]
    shown = "; ".join(_describe_one(detail) for detail in details[:_ERRORS_SHOWN])
    hidden = len(details) - _ERRORS_SHOWN
    return f"{shown}; and {hidden} more" if hidden > 0 else shown


def _describe_one(detail: ErrorDetails) -> str:
    message = detail["msg"]
    if detail["type"] == "union_tag_invalid":  # pydantic's own words repeat what was found, however long it is
        message = f"Input should have the type {detail['ctx']['expected_tags']}"
    path = _path(detail["loc"])
    return f"{path}: {message}{_got(detail)}" if path else f"{message}{_got(detail)}"


def _path(location: tuple[int | str, ...]) -> str:
    # After "content" pydantic names a member of the union: noise for whoever wrote the event.
    before = ("", *location)
    return ".".join(str(step)[:60] for last, step in zip(before, location, strict=False) if last != "content")


def _got(detail: ErrorDetails) -> str:
    kind, value = detail["type"], detail["input"]
    if kind in {"missing", "json_invalid"}:
        return ""
    field = detail["loc"][-1] if detail["loc"] else ""
    if field in _FIELDS_SHOWN and kind != "extra_forbidden" and isinstance(value, str | int | float):
        return f", got {str(value)[:60]!r}"
    return f", got {type(value).__name__}"
