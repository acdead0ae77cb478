"""What parts of messages become: texts, images, calls of tools and their results, and what stands for the rest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.messages.blanks import is_blank
from protector_models.moderation.messages.message import (
    MAX_PARTS,
    MAX_UNREAD_PARTS,
    ImagePart,
    TextPart,
    UnreadContent,
    UnreadKind,
)
from protector_models.moderation.messages.tool_calls import call_text

Written = Mapping[str, JsonValue]
"""An object as it was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """The call of a tool, in the OpenAI chat format."""

    call: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool gave back: a message of its own in the OpenAI chat format."""

    call_id: str | None
    parts: "Sequence[Piece]"


@dataclass(slots=True)
class Tally:
    """What was passed over in an event, and what could not be read."""

    ignored: int = 0
    """Fields, and parts with a model's thoughts."""
    unread: int = 0
    """Parts that could not be read."""
    parts: int = 0
    """All of them."""

    def take(self, num_parts: int) -> None:
        """Count parts before they are read.

        Raises:
            InvalidEventError: there are too many.
        """
        self.parts += num_parts
        if self.parts > MAX_PARTS:
            raise InvalidEventError(f"expected at most {MAX_PARTS} parts in all messages")

    def miss(self, kind: UnreadKind) -> UnreadContent:
        """Count a part that cannot be read and return what stands for it.

        Raises:
            InvalidEventError: there are too many: saying of each what it is would take more than the event itself.
        """
        self.unread += 1
        if self.unread > MAX_UNREAD_PARTS:
            raise InvalidEventError(f"expected at most {MAX_UNREAD_PARTS} parts that are neither text nor image")
        return _UNREAD[kind]


Piece = TextPart | ImagePart | UnreadContent | ToolCall | ToolResult

_UNREAD = {kind: UnreadContent(type="unread", kind=kind) for kind in UnreadKind}


def to_text(text: JsonValue, tally: Tally) -> Piece:
    """Return a text; what is none is a malformed part."""
    return TextPart(type="text", text=text) if isinstance(text, str) else tally.miss(UnreadKind.MALFORMED)


def joined(sources: Iterable[Sequence[Piece]]) -> list[Piece]:
    """Return what stands in several places, in order: what one says that one before it said is left out."""
    filled = [source for source in sources if source]
    if len(filled) < 2:
        return [*filled[0]] if filled else []
    pieces: list[Piece] = []
    seen: set[tuple[str, str]] = set()
    for source in filled:
        named = [(piece, _identity(piece)) for piece in source]
        pieces.extend(piece for piece, identity in named if identity is None or identity not in seen)
        seen.update(identity for _, identity in named if identity is not None)
    return pieces


def _identity(piece: Piece) -> tuple[str, str] | None:
    if isinstance(piece, TextPart):
        return "text", piece.text
    if isinstance(piece, ImagePart):
        return "image", piece.image_url.url
    return ("call", call_text(piece.call)) if isinstance(piece, ToolCall) else None


def says_something(pieces: Iterable[Piece]) -> bool:
    """Tell whether there is anything but blank texts."""
    return any(not isinstance(piece, TextPart) or not is_blank(piece.text) for piece in pieces)


def first_of(part: Written, *names: str) -> JsonValue:
    """Return the first of some fields that is there and not null; None where none is."""
    return next((part[name] for name in names if part.get(name) is not None), None)
