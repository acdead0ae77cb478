"""The wire format: JSON in UTF-8, one object per Kafka record or JSONL line."""

from dataclasses import dataclass
from itertools import takewhile

from pydantic import JsonValue, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_json

from protector_models.moderation.conversation import MAX_IDENTIFIER_CHARACTERS, ConversationEvent
from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.messages.forms import read_messages
from protector_models.moderation.messages.message import ImagePart, ImageUrl, Message, TextPart
from protector_models.moderation.verdict import EventIdentity, Verdict
from protector_models.moderation.wire.strict_json import (
    RefusedJsonError,
    count_members,
    count_written_members,
    find_member,
    read_json,
)

_PLAIN_BYTES = 64_000
"""In a longer value pydantic could find very many faults, and keeps them all; those are read step by step."""
_SEARCHED_BYTES = 500_000
"""How far an identifier is looked for in what is refused: its members are read one by one until it is there."""
_IDENTITY = tuple(EventIdentity.model_fields)
_ERRORS_SHOWN = 3
_ERRORS_LOOKED_AT = 1_000
"""Describing an error takes about 500 bytes, and a large event may hold millions of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedEvent:
    """An event, and how much of its bytes said nothing to Weir."""

    event: ConversationEvent
    ignored: int
    """Fields of messages and parts that were passed over, and parts that hold a model's thoughts."""


def decode_event(value: bytes | None, *, max_bytes: int) -> ConversationEvent:
    """Read one conversation event; see `decode`."""
    return decode(value, max_bytes=max_bytes).event


def decode(value: bytes | None, *, max_bytes: int) -> DecodedEvent:
    """Read one conversation event and count what was passed over.

    The event's own fields are taken as the schema says and not otherwise; its messages as today's SDKs write them.

    Args:
        value: the bytes of one record or line; None where a record has no value.
        max_bytes: more than this is refused unread.

    Raises:
        InvalidEventError: the message names the fields at fault, what was expected and the type that was found. It
            quotes nothing of the event: neither values nor keys that Weir does not know.
    """
    if value is None:
        raise InvalidEventError("the record has no value; expected a JSON object")
    if len(value) > max_bytes:
        raise InvalidEventError(f"{len(value)} bytes; expected at most {max_bytes}")
    if len(value) <= _PLAIN_BYTES and (event := _read_plain(value)) is not None:
        return DecodedEvent(event=event, ignored=0)
    try:
        written = read_json(value)
    except RefusedJsonError as error:
        path = ".".join(_path(error.path))
        raise InvalidEventError(f"{path}: {error.message}" if path else error.message) from None
    except RecursionError:
        raise InvalidEventError("nested too deeply") from None
    return decode_json(written)


def decode_json(written: JsonValue) -> DecodedEvent:
    """Read one conversation event from JSON that `read_json` has taken, and count what was passed over.

    Raises:
        InvalidEventError: as in `decode`.
    """
    if not isinstance(written, dict):
        raise InvalidEventError(f"expected a JSON object, got {type(written).__name__}")
    try:
        return _read_event(written)
    except ValidationError as error:
        # `from None`: the cause would carry the conversation into tracebacks and logs.
        raise InvalidEventError(_describe(error)) from None
    except RecursionError:
        raise InvalidEventError("nested too deeply") from None


def find_event_id(value: bytes | None, *, max_bytes: int) -> str | None:
    """Return the identifier of an event that is refused; None where it is not there, or is no identifier.

    Args:
        value: the bytes of one record or line.
        max_bytes: no more of them is looked at; of very many only the beginning is.
    """
    found = None if value is None else find_member(value[: min(max_bytes, _SEARCHED_BYTES)], "event_id")
    if not isinstance(found, str) or not 1 <= len(found) <= MAX_IDENTIFIER_CHARACTERS:
        return None
    return found if found.isascii() or _has_utf8_form(found) else None


def encode_moderated(event: ConversationEvent, verdict: Verdict) -> bytes:
    """Write one moderated conversation. Equal arguments give equal bytes.

    Raises:
        ValueError: the verdict holds text that has no UTF-8 form, such as a lone surrogate from an MLLM.
    """
    # The two parts of a `ModeratedConversation`, one after the other: making one of them first, even without validating
    # it, would cost more than all the rest of this function.
    identity = {name: getattr(event, name) for name in _IDENTITY}
    try:
        return b"%b,%b" % (to_json(identity)[:-1], to_json(verdict)[1:])
    except (PydanticSerializationError, UnicodeError):
        raise ValueError("the response has no UTF-8 form; expected text without lone surrogates") from None


def _read_plain(value: bytes) -> ConversationEvent | None:
    """Read an event whose messages are nothing but texts; None where it is another one, or not surely one.

    Parsing in Python, to see each key, takes as long as all the rest of a cached verdict. Here the parser drops keys
    that are there twice, and then there are fewer members than were written.
    """
    try:
        event = ConversationEvent.model_validate_json(value)
    except ValidationError:
        return None
    num_members = len(event.model_fields_set) + count_members(event.metadata)
    for message in event.messages:
        if isinstance(message.content, tuple) or message.tool_calls is not None or message.function_call is not None:
            return None
        num_members += len(message.model_fields_set)
    return event if num_members == count_written_members(value) else None


def _read_event(written: dict[str, JsonValue]) -> DecodedEvent:
    if len(written) > _ERRORS_LOOKED_AT:
        raise InvalidEventError(f"{len(written)} keys; expected none but {', '.join(ConversationEvent.model_fields)}")
    fields: dict[str, object] = dict(written)
    for name in ("tenant", "metadata"):
        if name in fields and fields[name] is None:
            del fields[name]
    if "messages" not in written:
        return DecodedEvent(event=ConversationEvent.model_validate(fields), ignored=0)
    read = read_messages(written["messages"], written.get("response"))
    fields["messages"], fields["response"] = read.messages, read.response
    event = ConversationEvent.model_validate(fields)
    for message in event.messages:
        if message.tool_calls or message.function_call is not None:
            _ = message.called  # read now: this may be a thread, and whoever asks later an event loop
    return DecodedEvent(event=event, ignored=read.ignored)


def _describe(error: ValidationError) -> str:
    if error.error_count() > _ERRORS_LOOKED_AT:
        return f"{error.error_count()} errors; expected a conversation event"
    described = list(dict.fromkeys(_describe_one(detail) for detail in error.errors(include_url=False)))
    shown = "; ".join(described[:_ERRORS_SHOWN])
    hidden = len(described) - _ERRORS_SHOWN
    return f"{shown}; and {hidden} more" if hidden > 0 else shown


def _describe_one(detail: ErrorDetails) -> str:
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return f"an unknown key; expected none but {', '.join(ConversationEvent.model_fields)}"
    path = ".".join(_path(detail["loc"])) or "the event"
    # pydantic's own words of other kinds may repeat what was found, or the name of a key.
    message = detail["msg"].removeprefix("Value error, ") if kind in _QUOTES_NOTHING else "not as expected"
    return f"{path}: {message}" if kind == "missing" else f"{path}: {message}, got {type(value).__name__}"


def _path(location: tuple[int | str, ...]) -> list[str]:
    """Return where something is, as far as it is named by fields that Weir knows; another key is not told."""
    known = takewhile(lambda step: isinstance(step, int) or step in _NAMES, location)
    return [str(step) for step in known]


_NAMES = frozenset(
    {
        *(*ConversationEvent.model_fields, *Message.model_fields, *TextPart.model_fields, *ImagePart.model_fields),
        *(*ImageUrl.model_fields, "parts", "from", "value"),
    }
)
"""Names of our own fields: they may be told, whatever stands in them may not."""


def _has_utf8_form(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_QUOTES_NOTHING = frozenset(
    {
        *("missing", "literal_error", "value_error", "string_type", "string_too_short", "string_too_long"),
        *("string_unicode", "dict_type", "datetime_parsing", "datetime_from_date_parsing", "timezone_aware"),
        *("tuple_type", "recursion_loop"),
    }
)
