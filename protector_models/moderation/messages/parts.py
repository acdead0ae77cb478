"""Parts of messages as SDKs and servers write them: one small function for each form, a table of them.

A part becomes texts, images, calls of tools or their results. What cannot be read becomes the name of its kind, so that
it is missed; what a model only thought is passed over.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass

from pydantic import JsonValue

from protector_models.moderation.messages.blanks import is_there, may_hold_content, may_hold_more
from protector_models.moderation.messages.media import (
    read_attachments,
    read_audio,
    read_document,
    read_file_data,
    read_image,
    read_image_url,
    read_inline_data,
    read_nothing_of,
    read_pictures,
    read_unread,
)
from protector_models.moderation.messages.message import TextPart, UnreadContent, UnreadKind
from protector_models.moderation.messages.pieces import (
    Piece,
    Tally,
    ToolCall,
    ToolResult,
    Written,
    first_of,
    joined,
    says_something,
    to_text,
)


def read_parts(written: JsonValue, tally: Tally) -> list[Piece]:
    """Return what the parts of a message are, in order; a single text or part stands for a list of one.

    Args:
        written: the content of a message, whatever it is.
        tally: counts what is passed over and what cannot be read.

    Raises:
        InvalidEventError: there are too many, or too many that cannot be read.
    """
    if written is None:
        return []
    parts = written if isinstance(written, list) else [written]
    tally.take(len(parts))
    return [piece for part in parts for piece in _read_part(part, tally)]


def read_fields(written: Written, but: Set[str], tally: Tally) -> Iterator[list[Piece]]:
    """Return what is in each field that may hold a content, of a message or of a part.

    Args:
        written: the message or part.
        but: fields that are read elsewhere.
        tally: counts what is passed over and what cannot be read.
    """
    # Few of the many are there: to ask for each of them would take as long as all the rest of reading.
    names = [name for name in written if name in _RANKS and name not in but]
    for name in sorted(names, key=_RANKS.__getitem__) if len(names) > 1 else names:
        if is_there(value := written[name]):
            yield CONTENT_FIELDS[name](value, tally)


def read_item(item: Written, tally: Tally) -> list[Piece]:
    """Read an object that says in `type` what it is: a part, or an item of OpenAI's Responses API."""
    kind = item.get("type")
    form = _BY_TYPE.get(kind.lower()) if isinstance(kind, str) else _form_without_type(item)
    return [tally.miss(UnreadKind.UNKNOWN)] if form is None else _read_form(item, form, tally)


def is_item(written: Written) -> bool:
    """Tell whether an object is a part or an item by its type; a message of OpenAI's Responses API is a message."""
    kind = written.get("type")
    return isinstance(kind, str) and (name := kind.lower()) != "message" and name in _BY_TYPE


def _read_part(part: JsonValue, tally: Tally) -> list[Piece]:
    if isinstance(part, str):
        return [TextPart(type="text", text=part)]
    return read_item(part, tally) if isinstance(part, dict) else [tally.miss(UnreadKind.MALFORMED)]


def _read_form(part: Written, form: "_PartForm", tally: Tally) -> list[Piece]:
    unknown = [name for name in part if name not in form.fields and name not in _RANKS and name != "type"]
    tally.ignored += len(unknown) + (form.read is None)
    own = form.read(part, tally) if form.read is not None else []
    pieces = joined([own, *read_fields(part, form.fields, tally)])
    if not pieces and form.read is not None:
        pieces = _blank_text(part)
    if any(isinstance(piece, UnreadContent) for piece in pieces):
        return pieces
    # Beside what is said, a word is the name of a state or the like.
    is_more = form.read is None or says_something(pieces)
    may_hold = may_hold_more if is_more else may_hold_content
    is_missed = not pieces and form.read is not None
    if is_missed or any(may_hold(name, part[name]) for name in unknown):
        pieces.append(tally.miss(UnreadKind.MALFORMED))
    return pieces


def _blank_text(part: Written) -> list[Piece]:
    texts = (part.get(name) for name in ("text", "refusal", "content"))
    return next(([TextPart(type="text", text=text)] for text in texts if isinstance(text, str)), [])


def _read_text(text: JsonValue, tally: Tally) -> list[Piece]:
    if isinstance(text, list):
        return read_parts(text, tally)
    return [to_text(text.get("value") if isinstance(text, dict) else text, tally)]


def _read_call(call: JsonValue, _: Tally) -> list[Piece]:
    return [ToolCall(call=to_tool_call(call))]


def _read_calls(calls: JsonValue, _: Tally) -> list[Piece]:
    return [ToolCall(call=to_tool_call(call)) for call in (calls if isinstance(calls, list) else [calls])]


def _read_hosted_call(part: Written, tally: Tally) -> list[Piece]:
    """Read the call of a tool that the provider runs itself: its name, and all that it was told and found."""
    said = {name: part[name] for name in _HOSTED_CALL_FIELDS if part.get(name) is not None}
    return _read_call({"name": part.get("type"), **said}, tally)


def _read_generated_image(part: Written, tally: Tally) -> list[Piece]:
    result = part.get("result")
    return [tally.miss(UnreadKind.IMAGE)] if result is None else read_pictures(result, tally)


def _read_call_part(part: Written, tally: Tally) -> list[Piece]:
    return _read_call({name: part[name] for name in part if name in _CALL_FIELDS}, tally)


def to_tool_call(call: JsonValue) -> JsonValue:
    """Return the call of a tool in the OpenAI chat format; as it was written where it is in that format, or in none."""
    if not isinstance(call, dict) or "name" not in call or not _SIMPLE_CALL_FIELDS.issuperset(call):
        return call
    given = [call[name] for name in ("arguments", "args", "input") if call.get(name) is not None]
    if len(given) > 1:
        return call
    arguments = given[0] if given else {}
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    call_id = first_of(call, "call_id", "toolUseId", "id")
    function: JsonValue = {"name": call["name"], "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def _read_result(result: JsonValue, tally: Tally) -> list[Piece]:
    """Read what a tool gave back; an object in it is read as the JSON that it is."""
    inner: Written = result if isinstance(result, dict) else {"content": result}
    contents = [inner[name] for name in _RESULT_FIELDS if inner.get(name) is not None]
    parts = [
        read_parts(json.dumps(content, ensure_ascii=False) if isinstance(content, dict) else content, tally)
        for content in contents
    ]
    call_id = first_of(inner, "tool_use_id", "tool_call_id", "call_id", "toolUseId", "id")
    return [ToolResult(call_id=call_id if isinstance(call_id, str) else None, parts=joined(parts))]


def _read_result_part(part: Written, tally: Tally) -> list[Piece]:
    return _read_result(dict(part), tally)


def _read_json(value: JsonValue, tally: Tally) -> list[Piece]:
    return [to_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), tally)]


def _read_code(code: JsonValue, tally: Tally) -> list[Piece]:
    if not isinstance(code, dict):
        return [to_text(code, tally)]
    return [to_text(code[name], tally) for name in ("code", "output") if code.get(name) is not None] or [
        tally.miss(UnreadKind.MALFORMED)
    ]


_Read = Callable[[JsonValue, Tally], list[Piece]]

CONTENT_FIELDS: Mapping[str, _Read] = {
    **dict.fromkeys(("content", "parts", "blocks", "content_blocks"), read_parts),
    **dict.fromkeys(("text", "input_text", "output_text", "refusal"), _read_text),
    **dict.fromkeys(("executableCode", "executable_code", "codeExecutionResult", "code_execution_result"), _read_code),
    "json": _read_json,
    "image_url": lambda url, tally: read_image_url({"image_url": url}, tally),
    **dict.fromkeys(("image", "images", "input_image"), read_pictures),
    **dict.fromkeys(("attachments", "experimental_attachments"), read_attachments),
    **dict.fromkeys(("inlineData", "inline_data"), read_inline_data),
    **dict.fromkeys(("fileData", "file_data"), read_file_data),
    **dict.fromkeys(("audio", "input_audio", "audio_url"), read_audio),
    **dict.fromkeys(("video", "input_video", "video_url"), read_nothing_of(UnreadKind.VIDEO)),
    **dict.fromkeys(("file", "input_file", "file_url"), read_nothing_of(UnreadKind.FILE)),
    "document": read_nothing_of(UnreadKind.DOCUMENT),
    **dict.fromkeys(("functionCall", "function_call", "toolUse"), _read_call),
    **dict.fromkeys(("tool_calls", "invalid_tool_calls"), _read_calls),
    **dict.fromkeys(("functionResponse", "function_response", "toolResult"), _read_result),
}
"""Fields in which something is said or shown, in a message or beside the others of a part: each of them is read."""
_RANKS: Mapping[str, int] = {name: rank for rank, name in enumerate(CONTENT_FIELDS)}


@dataclass(frozen=True, slots=True)
class _PartForm:
    """How a part of some form is read, apart from the fields above."""

    read: Callable[[Written, Tally], list[Piece]] | None
    """None: it is passed over."""
    fields: frozenset[str]
    """What is looked at, or passed over on purpose."""


def _form(read: Callable[[Written, Tally], list[Piece]] | None, *fields: str) -> _PartForm:
    return _PartForm(read, frozenset(fields))


_RESULT_FIELDS = ("content", "output", "response", "parts")
_SIMPLE_CALL_FIELDS = frozenset({"type", "id", "call_id", "toolUseId", "index", "name", "input", "arguments", "args"})
_CALL_FIELDS = _SIMPLE_CALL_FIELDS | {"function", "custom"}
_PLAIN = _form(lambda _, __: [])
_THOUGHT = _form(
    *(None, "thinking", "reasoning", "summary", "content", "text", "data", "signature", "thought"),
    "encrypted_content",
)
_IMAGE = _form(
    *(read_image, "source", "image", "image_url", "url", "data", "base64", "bytes"),
    *("mime_type", "media_type", "mimeType", "format", "source_type", "file_id", "id"),
)
_HOSTED_CALL_FIELDS = ("name", "server_label", "action", "queries", "code", "arguments", "output", "outputs", "results")
_CALL = _form(_read_call_part, *_CALL_FIELDS)
_RESULT = _form(_read_result_part, "tool_use_id", "tool_call_id", "call_id", *_RESULT_FIELDS)
_HOSTED_CALLS = ("web_search_call", "file_search_call", "code_interpreter_call", "computer_call", "mcp_call")
_AUDIO = _form(read_nothing_of(UnreadKind.AUDIO), "input_audio", "audio", "audio_url", "source")
_VIDEO = _form(read_nothing_of(UnreadKind.VIDEO), "video", "video_url", "input_video", "source")
_FILE = _form(read_nothing_of(UnreadKind.FILE), "file", "file_id", "file_data", "file_url", "filename", "source")

_BY_TYPE: Mapping[str, _PartForm] = {
    **dict.fromkeys(("text", "input_text", "output_text", "refusal"), _PLAIN),
    "message": _form(lambda _, __: [], "role"),
    **dict.fromkeys(("image_url", "input_image"), _form(read_image_url, "image_url", "detail", "file_id")),
    "image": _IMAGE,
    **dict.fromkeys(("audio", "input_audio", "output_audio", "audio_url"), _AUDIO),
    **dict.fromkeys(("video", "input_video", "video_url"), _VIDEO),
    **dict.fromkeys(("file", "input_file", "file_url"), _FILE),
    "document": _form(read_document, "source"),
    **dict.fromkeys(("tool_use", "server_tool_use", "mcp_tool_use", "tool_call", "function_call"), _CALL),
    "custom_tool_call": _CALL,
    **dict.fromkeys(("tool_result", "mcp_tool_result", "function_call_output", "custom_tool_call_output"), _RESULT),
    **dict.fromkeys(("thinking", "redacted_thinking", "reasoning"), _THOUGHT),
    "step-start": _form(None),
    **dict.fromkeys(_HOSTED_CALLS, _form(_read_hosted_call, *_HOSTED_CALL_FIELDS, "container_id")),
    "image_generation_call": _form(_read_generated_image, "result"),
    "unread": _form(read_unread, "kind"),
}
"""Parts and items that say in `type` what they are: OpenAI's two APIs, Anthropic's, LangChain's, and Weir's own."""

_GEMINI_THOUGHT = _form(None, "text", "thought")
_BEDROCK_ASIDE = _form(None, "reasoningContent", "cachePoint")


def _form_without_type(part: Written) -> _PartForm:
    """Return the form of a part that is told by the keys it has: Gemini's or Bedrock's."""
    if part.get("thought") is True:
        return _GEMINI_THOUGHT
    return _PLAIN if _BEDROCK_ASIDE.fields.isdisjoint(part) else _BEDROCK_ASIDE
