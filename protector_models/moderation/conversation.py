"""What comes in: a conversation event, and the exchange in it that the models see."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _require_rfc_3339(value: object) -> object:
    """Refuse what a lenient date parser would take: numbers, dates alone, times without an offset."""
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC_3339.fullmatch(value)):
        return value
    raise ValueError("expected an RFC 3339 date-time with an offset, such as 2026-01-31T12:00:00Z")


# Not strict: behind a validator written in Python, pydantic no longer knows that a string came from JSON.
OccurredAt = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_require_rfc_3339)]
"""An aware point in time; on the wire an RFC 3339 string. Kept to the microsecond; finer digits are cut."""


def _require_integer(value: object) -> object:
    """Refuse what equals a version without being one: true and 1.0."""
    if type(value) is int:
        return value
    raise ValueError("expected the integer 1")


SchemaVersion = Annotated[Literal[1], BeforeValidator(_require_integer)]
"""The version of the wire format that this code reads and writes."""

# Only where a constraint stands does pydantic look at the characters of a string that Python hands it.
Text = Annotated[str, Field(min_length=0)]
"""Any text that has a UTF-8 form: no lone surrogates."""

Identifier = Annotated[str, Field(min_length=1, max_length=512)]
"""A caller's identifier: 1 to 512 characters."""


class _WireModel(BaseModel):
    """What crosses the wire inwards: frozen, no unknown keys, no coercion between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TextPart(_WireModel):
    """A text part of a message, as in the OpenAI chat format."""

    type: Literal["text"]
    text: Text


class ImageUrl(_WireModel):
    """A reference to an image, as in the OpenAI chat format."""

    url: Annotated[str, Field(min_length=1)]
    """An https, s3 or file reference, or a data URL. It is not fetched while an event is parsed."""
    detail: str | None = None
    """A hint for the MLLM; Weir does not use it."""


class ImagePart(_WireModel):
    """An image part of a message, as in the OpenAI chat format."""

    type: Literal["image_url"]
    image_url: ImageUrl


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(_WireModel):
    """One message of a conversation, in the OpenAI chat format."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
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


def _with_image(part: TextPart | ImagePart, data_urls: Mapping[str, str]) -> TextPart | ImagePart:
    if isinstance(part, TextPart):
        return part
    url = data_urls.get(part.image_url.url, part.image_url.url)
    return part.model_copy(update={"image_url": part.image_url.model_copy(update={"url": url})})


NOT_READ = "ImagesNotRead"
"""Why an image is unread where nothing reads images."""


class SeenImage(BaseModel):
    """What a detector sees of an image: the text in it, or why there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Text | None = None
    """What stands in the picture; empty where no text does. None: it was not read."""
    unread_reason: str | None = None
    """Why it was not read, such as "FetchTimeout"; None where it was."""

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if (self.text is None) == (self.unread_reason is None):
            raise ValueError("expected either a text or an unread_reason")
        return self


_UNREAD = SeenImage(unread_reason=NOT_READ)


class Exchange(BaseModel):
    """What the models see of a conversation: identity-free, the unit of batching and caching."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Text
    """The text of the last user turn. May be empty: a response can be judged alone."""
    images: tuple[SeenImage, ...] = ()
    """Every image in the conversation, in order."""
    response: Text
    """The answer to judge."""

    def question(self) -> str:
        """Return what a detector reads as the question: the prompt, then the texts that stand in images, by lines."""
        if not self.images:
            return self.prompt
        return "\n".join(text for text in (self.prompt, *(image.text for image in self.images)) if text)


MAX_IMAGE_PARTS = 1_000
"""Images in one conversation, those included that are not looked at: a record of a few megabytes could name a hundred
thousand, and the verdict would have to say of each what became of it."""


def _image_references(messages: Sequence[Message]) -> tuple[str, ...]:
    # Most messages are text; asking each of them would take a tenth of the time of a cached verdict.
    for message in messages:
        if isinstance(message.content, tuple):
            return tuple(chain.from_iterable(message.image_references() for message in messages))
    return ()


def _require_few_images(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    num_images = len(_image_references(messages))
    if num_images > MAX_IMAGE_PARTS:
        raise ValueError(f"expected at most {MAX_IMAGE_PARTS} images, got {num_images}")
    return messages


class ConversationEvent(_WireModel):
    """One conversation to moderate, up to and including the MLLM's response."""

    schema_version: SchemaVersion
    event_id: Identifier
    """The idempotency key: one event, one moderated conversation."""
    conversation_id: Identifier
    """The Kafka key; events of one conversation keep their order."""
    tenant: Identifier = "default"
    """Selects the policy's rules."""
    occurred_at: OccurredAt
    """When the response was given."""
    # Fails at the first message at fault: errors of millions of them would fill the memory.
    messages: Annotated[tuple[Message, ...], Field(min_length=1, fail_fast=True), AfterValidator(_require_few_images)]
    """The conversation before the response, oldest first, in the OpenAI chat format."""
    response: Text | None = None
    """The MLLM's answer to the messages. None: the MLLM configured in Weir shall answer."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """The caller's own data. It is neither read nor passed on."""

    def image_references(self) -> tuple[str, ...]:
        """Return the references of every image in the conversation, in order; equal ones as often as they stand."""
        return _image_references(self.messages)

    def exchange(self, response: str, images: Sequence[SeenImage] | None = None) -> Exchange:
        """Return what the models see, with `response` as the answer.

        The prompt is the last user turn: the user messages back to the last assistant message that stands before one of
        them. What an assistant said or called after the turn does not end it, nor do messages of other roles. Images of
        the whole conversation are included.

        Args:
            response: the answer.
            images: what was seen of each of `image_references()`, in order; None: nothing reads images.

        Raises:
            ValueError: there are not as many images as references.
        """
        num_images = len(self.image_references())
        if images is not None and len(images) != num_images:
            raise ValueError(f"images: expected {num_images}, got {len(images)}")
        seen = (_UNREAD,) * num_images if images is None else tuple(images)
        return Exchange(prompt=self._last_user_turn(), images=seen, response=response)

    def with_images(self, data_urls: Mapping[str, str]) -> Self:
        """Return the event with data URLs in place of references, so that nobody has to fetch them again.

        Args:
            data_urls: by reference; a reference that is not among them stays.
        """
        messages = tuple(message.with_images(data_urls) for message in self.messages)
        return self.model_copy(update={"messages": messages})

    def _last_user_turn(self) -> str:
        turn: list[str] = []
        for message in reversed(self.messages):
            if message.role == "user":
                turn.append(message.text())
            elif message.role == "assistant" and turn:
                break
        return "\n".join(reversed(turn))
