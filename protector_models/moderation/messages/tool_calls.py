"""What calls of tools say: the names and texts in them, as text that a detector can judge."""

import json
import re
from collections.abc import Iterator

from pydantic import JsonValue

from protector_models.moderation.errors import InvalidEventError

MAX_ARGUMENT_VALUES = 200_000
"""Values of JSON inside a string; as many as an event may have by itself (`wire.strict_json`), for the same reason."""
_NO_TEXT = frozenset({"id", "type", "index", "call_id", "tool_call_id", "signature"})
"""Fields of a call that say nothing: who it is, not what."""

_MAX_NAME_CHARACTERS = 40
_MAX_NAME_WORDS = 5
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""A word in a name such as max_results or HTTPStatusCode."""


def call_text(call: JsonValue) -> str:
    """Return what the call of a tool says, on lines of their own: its name, then the texts in its arguments.

    A key that is longer than names of parameters are, or of more words, is one of the texts.

    Arguments that are JSON inside a string are read as JSON, so that no escape hides a text; what is not JSON is read
    as it stands. Of a call in no known form every text is read.

    Raises:
        InvalidEventError: a string may hold too many values of JSON; none of them is read.
    """
    if isinstance(call, dict):
        call = {name: value for name, value in call.items() if name not in _NO_TEXT}
    return "\n".join(text for text in _texts(call) if text)


class _Members(list[tuple[str, JsonValue]]):
    """An object inside a string: each of its members, also where a key is there twice."""


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield from _texts_in_string(value)
    elif isinstance(value, dict | _Members):
        # SDKs write the name of a function after its arguments.
        members = sorted(value.items(), key=_is_no_name) if isinstance(value, dict) else value
        for name, member in members:
            if not _may_be_parameter(name):
                yield name
            yield from _texts(member)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _may_be_parameter(name: str) -> bool:
    """Tell whether a key may be the name of a parameter: what none is called may be a text."""
    if not name.isascii() or not name.isidentifier() or len(name) > _MAX_NAME_CHARACTERS:
        return False
    return len(_WORD.findall(name)) <= _MAX_NAME_WORDS


def _is_no_name(member: tuple[str, object]) -> bool:
    return member[0] != "name"


def _texts_in_string(text: str) -> Iterator[str]:
    if text.lstrip()[:1] not in {"{", "[", '"'}:
        yield text
        return
    if len(text) > MAX_ARGUMENT_VALUES and sum(map(text.count, ",[{")) > MAX_ARGUMENT_VALUES:
        raise InvalidEventError(f"expected at most {MAX_ARGUMENT_VALUES} values in the arguments of a tool's call")
    try:
        yield from list(_texts(json.loads(text, object_pairs_hook=_Members)))
    except (ValueError, RecursionError):
        yield text
