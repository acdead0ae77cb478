"""Messages as SDKs and servers write them, brought into one form.

`dialects` knows where in a message something is said, `parts` what is said there. Nothing here refuses a
message for a field that it does not know: such fields are counted, and what cannot be read is an unread part.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from pydantic import JsonValue

from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.messages.blanks import is_blank, is_there, may_hold_content
from protector_models.moderation.messages.dialects import OWN_ROLES, layers_of, role_of
from protector_models.moderation.messages.message import MAX_MESSAGES, ContentPart, Message, TextPart, UnreadKind
from protector_models.moderation.messages.parts import (
    CONTENT_FIELDS,
    is_item,
    read_fields,
    read_item,
    read_parts,
    to_tool_call,
)
from protector_models.moderation.messages.pieces import (
    Piece,
    Tally,
    ToolCall,
    ToolResult,
    Written,
    joined,
    says_something,
)
from protector_models.moderation.messages.tool_calls import call_text

_CALL_FIELDS = frozenset({"tool_calls", "invalid_tool_calls", "function_call"})
_APART = _CALL_FIELDS | {"refusal"}
"""Fields with contents that have a place of their own in a message."""
_FRAME = frozenset({"role", "from", "name", "tool_call_id", "type"})
_KNOWN = CONTENT_FIELDS.keys() | _FRAME


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMessages:
    """The messages of an event, and its response."""

    messages: tuple[Message | Written, ...]
    """A message that is nothing but a role and a text stands as it was written."""
    response: str | None
    ignored: int
    """Fields, and parts that hold a model's thoughts, that were passed over."""


def read_messages(messages: JsonValue, response: JsonValue) -> ReadMessages:
    """Read the messages of an event and its response, in whatever form each is.

    A response that is a message, or a list of parts, becomes the text to judge: what is said in it, then each call of a
    tool. Its images and unread parts are those of an assistant's message that stands after all others.

    Raises:
        InvalidEventError: `messages` is no array of objects, or `response` nothing that could be an answer; or there
            are too many messages or parts.
    """
    if not isinstance(messages, list):
        raise InvalidEventError(f"messages: expected an array, got {type(messages).__name__}")
    if len(messages) > MAX_MESSAGES:
        raise InvalidEventError(f"messages: expected at most {MAX_MESSAGES}, got {len(messages)}")
    tally = Tally()
    read: list[Message | Written] = []
    for position, written in enumerate(messages):
        if _is_plain(written):
            read.append(written)
        else:
            read.extend(_read_message(written, f"messages.{position}", tally))
    if response is None or isinstance(response, str):
        return ReadMessages(messages=tuple(read), response=response, ignored=tally.ignored)
    answer = _read_answer(response, tally)
    parts = [part for message in answer for part in _shown_parts(message)]
    if parts:
        read.append(Message(role="assistant", content=tuple(parts)))
    text = "\n".join(said for said in (message.said() for message in answer) if said)
    return ReadMessages(messages=tuple(read), response=text, ignored=tally.ignored)


def _is_plain(written: Any) -> TypeGuard[Written]:
    # Nearly every message is one. A look costs a tenth of reading it.
    return (
        type(written) is dict
        and len(written) == 2
        and type(written.get("content")) is str
        and type(role := written.get("role")) is str
        and role in OWN_ROLES
    )


def _read_answer(response: JsonValue, tally: Tally) -> list[Message]:
    if isinstance(response, list):
        response = {"role": "assistant", "content": response}
    if not isinstance(response, dict) or not _may_answer(response):
        raise InvalidEventError(
            f"response: expected a text, a message, a list of parts or null, got {type(response).__name__}"
        )
    return _read_message(response, "response", tally)


def _may_answer(response: Written) -> bool:
    return is_item(response) or any(not CONTENT_FIELDS.keys().isdisjoint(layer) for layer in layers_of(response))


def _shown_parts(message: Message) -> list[ContentPart]:
    if not isinstance(message.content, tuple):
        return []
    return [part for part in message.content if not isinstance(part, TextPart)]


def _read_message(written: JsonValue, path: str, tally: Tally) -> list[Message]:
    """Return the message; more than one where results of tools stand in it."""
    if not isinstance(written, dict):
        raise InvalidEventError(f"{path}: expected an object, got {type(written).__name__}")
    layers = layers_of(written)
    frame: dict[str, Any] = {"role": role_of(layers)}
    is_owned = "role" in written or "from" in written
    items = [] if is_owned else [layer for layer in layers if is_item(layer)]
    layers = [layer for layer in layers if is_owned or not is_item(layer)]
    _frame(frame, layers, tally)
    calls = _called(frame, layers)
    pieces = joined(
        [
            *(read_item(item, tally) for item in items),
            *(source for layer in layers for source in _read_layer(layer, frame, tally)),
        ]
    )
    if _pass_over(layers, tally) and not (says_something(pieces) or _says(frame, calls)):
        pieces.append(tally.miss(UnreadKind.MALFORMED))
    text = _only_text(layers, pieces)
    if text is not None:
        return [Message(**frame, content=text, tool_calls=calls)]
    return _assemble(frame, pieces, calls, was_empty=any(layer.get(name) == [] for layer in layers for name in _LISTS))


def _says(frame: Mapping[str, Any], calls: Sequence[JsonValue] | None) -> bool:
    """Tell whether anything is said beside the content of a message."""
    called = (call_text(call) for call in (*(calls or ()), frame.get("function_call")))
    return not all(map(is_blank, (frame.get("refusal", ""), *called)))


_LISTS = ("content", "parts")


def _frame(frame: dict[str, Any], layers: Sequence[Written], tally: Tally) -> None:
    """Fill in what stands beside the content of a message."""
    for name in ("name", "refusal", "tool_call_id"):
        for value in (layer.get(name) for layer in layers):
            if isinstance(value, str):
                frame.setdefault(name, value)
            elif value is not None:
                tally.ignored += 1


def _called(frame: dict[str, Any], layers: Sequence[Written]) -> tuple[JsonValue, ...] | None:
    """Return the calls of tools in a message; one that a layer inside it repeats is left out."""
    calls: list[JsonValue] | None = None
    said: set[str] = set()
    for layer in layers:
        found = [call for name in ("tool_calls", "invalid_tool_calls") for call in _calls(layer.get(name))]
        single = layer.get("function_call")
        if single is not None and not said and not found:
            frame["function_call"] = single
            said.add(call_text(single))
            single = None
        texts = [(call, call_text(call)) for call in (*found, *(() if single is None else (single,)))]
        if texts or layer.get("tool_calls") is not None:
            calls = [*(calls or ()), *(call for call, text in texts if text not in said)]
        said.update(text for _, text in texts)
    return None if calls is None else tuple(calls)


def _read_layer(layer: Written, frame: Mapping[str, Any], tally: Tally) -> Iterator[list[Piece]]:
    yield from read_fields(layer, _APART, tally)
    refusal = layer.get("refusal")
    if is_there(refusal) and refusal != frame.get("refusal"):
        yield read_parts(refusal, tally)


def _pass_over(layers: Sequence[Written], tally: Tally) -> bool:
    """Count the fields that are not known; tell whether something may be said in one of them."""
    unknown = [(name, value) for layer in layers for name, value in layer.items() if name not in _KNOWN]
    tally.ignored += len(unknown)
    return any(may_hold_content(name, value) for name, value in unknown)


def _only_text(layers: Sequence[Written], pieces: Sequence[Piece]) -> str | None:
    """Return the content where it is a string and all there is, blank or not."""
    texts = [content for layer in layers if isinstance(content := layer.get("content"), str)]
    if not pieces:
        return texts[0] if texts else None
    (piece, *others) = pieces
    return piece.text if not others and isinstance(piece, TextPart) and piece.text in texts else None


def _calls(written: JsonValue) -> list[JsonValue]:
    if written is None:
        return []
    calls = written if isinstance(written, list) else [written]
    return [
        to_tool_call(call) if isinstance(call, dict) and call.get("type") == "tool_call" else call for call in calls
    ]


def _assemble(
    frame: dict[str, Any], pieces: Sequence[Piece], calls: tuple[JsonValue, ...] | None, *, was_empty: bool
) -> list[Message]:
    """Put a message together; each result of a tool in it is a message of the tool's, in its place."""
    messages: list[Message] = []
    parts: list[ContentPart] = []
    called: list[JsonValue] = []
    for piece in pieces:
        if isinstance(piece, ToolCall):
            called.append(piece.call)
        elif isinstance(piece, ToolResult):
            if parts:
                messages.append(Message(role=frame["role"], content=tuple(parts)))
                parts = []
            messages.extend(
                _assemble({"role": "tool", "tool_call_id": piece.call_id}, piece.parts, None, was_empty=True)
            )
        else:
            parts.append(piece)
    if parts or called or calls or not messages or "refusal" in frame or "function_call" in frame:
        content = tuple(parts) if parts or was_empty else None
        tool_calls = (*(calls or ()), *called) if calls or called else calls
        messages.append(Message(**frame, content=content, tool_calls=tool_calls))
    return messages
