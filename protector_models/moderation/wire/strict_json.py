"""JSON as it is taken on the wire: one meaning for every reader. Nothing that is said of bytes quotes them."""

import json
import re
from collections.abc import Iterator
from math import isfinite
from typing import NoReturn

from pydantic import JsonValue
from pydantic_core import from_json

MAX_DEPTH = 200
"""Objects and arrays inside each other."""

MAX_VALUES = 200_000
"""Values in all objects and arrays together; an array or object counts once more for what is in it. Of the smallest
ones five million stand in 16 MB: they took 14 s and 700 MB. A thousand tokens with 20 log probabilities each fit in."""

_BLANKS = re.compile(r"[ \t\n\r]*")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_PIECE_BYTES = 250_000
"""Bytes that are looked at in one go: nothing else runs in the process meanwhile, in whatever thread it is."""
_SPACED_COLON = re.compile(rb'"[ \t\n\r]++:')
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


Path = tuple[str | int, ...]


class RefusedJsonError(ValueError):
    """Bytes that are not taken as JSON. The message says what was expected, and quotes nothing."""

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message, path)
        self.message = message
        self.path = path
        """Where it is, by keys and indices; these may quote. Empty where it is not known."""


class KeyTwiceError(RefusedJsonError):
    """Some object has a key twice."""


def read_json(value: bytes) -> JsonValue:
    """Read one JSON value.

    Raises:
        RefusedJsonError: it is not JSON in UTF-8; a key stands twice in an object, whatever its escapes; a number is
            NaN, infinite or too large for a float, or an integer too long to be read; a string is no text; it is nested
            too deeply, or has too many values: such a one is refused unread.
    """
    require_few_values(value)
    try:
        read: JsonValue = from_json(value, allow_inf_nan=False)
    except ValueError:  # the other parser says what is wrong, in our words
        return _read_slowly(value)
    # This parser drops keys that are there twice: then there are fewer members than were written.
    if count_members(read) != count_written_members(value):
        return _read_slowly(value)
    _require_shallow(value, read)
    return read


def require_few_values(value: bytes) -> None:
    """Look for the limit of values without reading any.

    Raises:
        RefusedJsonError: there are more. What is no JSON may pass: no parser gets far in it.
    """
    # The smallest value takes a byte, and a comma. Counting bytes is next to nothing; only where texts may be full of
    # such signs, those outside of strings are counted.
    if len(value) <= 2 * MAX_VALUES or _count_openings(value) <= MAX_VALUES:
        return
    found, in_string, rest = 0, 0, b""
    for place in range(0, len(value), _PIECE_BYTES):
        piece = _ESCAPE.sub(b"", rest + value[place : place + _PIECE_BYTES])
        rest = b"\\" if piece.endswith(b"\\") else b""
        # Without escapes every quote begins or ends a string, so that each other part stands in one.
        parts = piece.split(b'"')
        found += _count_openings(b"".join(parts[in_string::2]))
        if found > MAX_VALUES:
            raise RefusedJsonError(f"too many values; expected at most {MAX_VALUES} in all objects and arrays")
        in_string = (in_string + len(parts) + 1) % 2


def _count_openings(value: bytes) -> int:
    """Return the signs after which a value stands in an array or object, or may stand."""
    return value.count(b",") + value.count(b"[") + value.count(b"{")


def count_members(value: JsonValue) -> int:
    """Return the members of all objects in a value; less than there are where a number may be none of JSON's."""
    if isinstance(value, dict):
        return len(value) + sum(map(count_members, value.values()))
    if isinstance(value, float) and not isfinite(value):
        return -1
    return sum(map(count_members, value)) if isinstance(value, list) else 0


def count_written_members(value: bytes) -> int | None:
    """Return how many members the objects of a JSON text have; None where that takes a parser.

    A colon after a quote that nothing escapes stands after a key: in a string such a quote would be its end.
    """
    # One byte is found at once: most texts have none.
    if b"\\" in value and b'\\":' in value:
        return None
    if _SPACED_COLON.search(value) is not None:
        return None
    return value.count(b'":')


def _read_slowly(value: bytes) -> JsonValue:
    """Read with the parser of the standard library, which shows each key, and say what is wrong."""
    try:
        text = value.decode()
        read: JsonValue = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise RefusedJsonError(f"Invalid JSON: expected UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise RefusedJsonError(f"Invalid JSON at line {error.lineno}, column {error.colno}") from None
    except KeyTwiceError as error:
        raise KeyTwiceError(error.message, _find_key_twice(text)) from None
    except RecursionError:
        raise _too_deep() from None
    except RefusedJsonError:
        raise
    except ValueError:  # Python's own limit; its message tells how many digits there are
        raise RefusedJsonError("a number is out of range") from None
    _require_shallow(value, read)
    _require_text(value, read)
    return read


def find_member(value: bytes, name: str) -> JsonValue:
    """Return a member of the outermost object, also where what comes after it is no JSON.

    Returns:
        None where the bytes are no object, where the member is not there, or is there twice before whatever is broken.
    """
    text = value.decode(errors="surrogateescape")
    found = [member for key, member in _members(text) if key == name]
    return found[0] if len(found) == 1 else None


def _members(text: str) -> Iterator[tuple[str, JsonValue]]:
    """Yield the members of an object until something is broken."""
    place = _skip_blanks(text, 0)
    opening = "{"
    while text[place : place + 1] == opening:
        try:
            place = _skip_blanks(text, place + 1)
            if text[place : place + 1] != '"':
                return
            key, place = _LENIENT_DECODER.raw_decode(text, place)
            place = _skip_blanks(text, place)
            if text[place : place + 1] != ":":
                return
            member, place = _LENIENT_DECODER.raw_decode(text, _skip_blanks(text, place + 1))
        except (ValueError, RecursionError):
            return
        yield key, member
        place, opening = _skip_blanks(text, place), ","


def _skip_blanks(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    return place if found is None else found.end()


def _to_object(members: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    read = dict(members)
    if len(read) != len(members):
        raise KeyTwiceError("a key is there twice")
    return read


def _refuse_constant(name: str) -> NoReturn:
    raise RefusedJsonError(f"{name} is no JSON number")


def _to_finite(number: str) -> float:
    read = float(number)
    if not isfinite(read):
        raise RefusedJsonError("a number is out of range")
    return read


class _Members(list[tuple[str, JsonValue]]):
    """An object with every key, as often as it is there."""


def _find_key_twice(text: str) -> Path:
    """Return where the first key is that is there twice; empty where it cannot be told."""
    try:
        read = json.loads(text, object_pairs_hook=_Members)
        return next(_paths_twice(read, ()), ())
    except (ValueError, RecursionError):  # something else is wrong as well
        return ()


def _paths_twice(value: object, path: Path) -> Iterator[Path]:
    if isinstance(value, _Members):
        seen: set[str] = set()
        for key, member in value:
            if key in seen:
                yield (*path, key)
            seen.add(key)
            yield from _paths_twice(member, (*path, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _paths_twice(item, (*path, position))


_DECODER = json.JSONDecoder(object_pairs_hook=_to_object, parse_constant=_refuse_constant, parse_float=_to_finite)
_LENIENT_DECODER = json.JSONDecoder()


def _require_shallow(value: bytes, read: JsonValue) -> None:
    # Counting bytes is next to nothing; hardly an event has as many brackets, and only then are they followed.
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return
    level: list[JsonValue] = [read]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
    raise _too_deep()


def _inner(value: JsonValue) -> Iterator[JsonValue]:
    if isinstance(value, dict):
        yield from (inner for inner in value.values() if isinstance(inner, dict | list))
    elif isinstance(value, list):
        yield from (inner for inner in value if isinstance(inner, dict | list))


def _too_deep() -> RefusedJsonError:
    return RefusedJsonError(f"nested too deeply; expected at most {MAX_DEPTH} levels")


def _require_text(value: bytes, read: JsonValue) -> None:
    """Refuse lone surrogates: only escapes can write them."""
    if _SURROGATE_ESCAPE.search(value) is None:
        return
    try:
        json.dumps(read, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RefusedJsonError("expected text with a UTF-8 form, got a lone surrogate") from None
