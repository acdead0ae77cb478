"""Messages of a conversation, in the one form that everything behind the wire knows."""

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from protector_models.moderation.messages.tool_calls import call_text

MAX_MESSAGES = 10_000
"""Messages in one conversation: each takes some 20 us and 1 KB to be read, however small it is."""
MAX_PARTS = 10_000
"""Parts in all messages of one conversation, whatever they are, for the same reason."""
MAX_UNREAD_PARTS = 1_000
"""Parts in one conversation that are neither text nor image: the verdict says of each what it is."""

# Only where a constraint stands does pydantic look at the characters of a string that Python hands it.
Text = Annotated[str, Field(min_length=0)]
"""Any text that has a UTF-8 form: no lone surrogates."""


class WireModel(BaseModel):
    """What crosses the wire inwards: frozen, no unknown keys, no coercion between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TextPart(WireModel):
    """A text part of a message, as in the OpenAI chat format."""

    type: Literal["text"]
    text: Text


class ImageUrl(WireModel):
    """A reference to an image, as in the OpenAI chat format."""

    url: Annotated[str, Field(min_length=1)]
    """An https, s3 or file reference, or a data URL. It is not fetched while an event is parsed."""
    detail: str | None = None
    """A hint for the MLLM; Weir does not use it."""


class ImagePart(WireModel):
    """An image part of a message, as in the OpenAI chat format."""

    type: Literal["image_url"]
    image_url: ImageUrl


class UnreadKind(StrEnum):
    """What a part is that nothing here reads."""

    AUDIO = "audio"
    VIDEO = "video"
    IMAGE = "image"
    """An image without bytes and without a reference, such as one that only a provider's file id stands for."""
    DOCUMENT = "document"
    FILE = "file"
    UNKNOWN = "unknown"
    """A part of a type that Weir does not know."""
    MALFORMED = "malformed"
    """A part, or the content of a message, that is not as its type says."""


class UnreadContent(WireModel):
    """Stands in a message for a part that nothing here reads; what was in it is gone."""

    type: Literal["unread"]
    kind: Annotated[UnreadKind, Field(strict=False)]


ContentPart = Annotated[TextPart | ImagePart | UnreadContent, Field(discriminator="type")]

Role = Literal["system", "developer", "user", "assistant", "tool", "function", "other"]
"""Whose message it is; "other": of somebody whose role Weir does not know."""


class Message(WireModel):
    """One message of a conversation, in the OpenAI chat format.

    Whatever else SDKs and servers write is brought into this form by `forms`.
    """

    role: Role
    content: Text | Annotated[tuple[ContentPart, ...], Field(fail_fast=True)] | None = None
    """Text, or text and image parts. None where nothing was said, as when an assistant calls a tool."""
    name: str | None = None
    refusal: str | None = None
    tool_calls: tuple[JsonValue, ...] | None = None
    tool_call_id: str | None = None
    function_call: JsonValue = None

    def text(self) -> str:
        """Return the text of the message, its text parts joined by newlines."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    def said(self) -> str:
        """Return all that the message says: its text, why it refuses, and what its calls of tools say."""
        if self.refusal is None and self.tool_calls is None and self.function_call is None:
            return self.text()
        return "\n".join(said for said in (self.text(), self.refusal, self.called) if said)

    @cached_property
    def called(self) -> str:
        """What its calls of tools say. Read once: it may be much, and then no event loop may wait for it."""
        calls = [call for call in (*(self.tool_calls or ()), self.function_call) if call is not None]
        return "\n".join(said for said in map(call_text, calls) if said)

    def image_references(self) -> tuple[str, ...]:
        """Return the image references of the message, in order."""
        if self.content is None or isinstance(self.content, str):
            return ()
        return tuple(part.image_url.url for part in self.content if isinstance(part, ImagePart))

    def with_images(self, data_urls: Mapping[str, str]) -> Self:
        """Return the message with data URLs, by reference, in place of image references."""
        if self.content is None or isinstance(self.content, str):
            return self
        return self.model_copy(update={"content": tuple(_with_image(part, data_urls) for part in self.content)})


def _with_image(
    part: TextPart | ImagePart | UnreadContent, data_urls: Mapping[str, str]
) -> TextPart | ImagePart | UnreadContent:
    if not isinstance(part, ImagePart):
        return part
    url = data_urls.get(part.image_url.url, part.image_url.url)
    return part.model_copy(update={"image_url": part.image_url.model_copy(update={"url": url})})
