"""A conversation event as it comes in, and the exchange in it that the models see."""

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
    WithJsonSchema,
    model_validator,
)

from protector_models.moderation.messages.blanks import is_blank
from protector_models.moderation.messages.message import (
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_UNREAD_PARTS,
    Message,
    Text,
    UnreadContent,
    UnreadKind,
    WireModel,
)
from protector_models.moderation.messages.schema import (
    WRITTEN_MESSAGES,
    WRITTEN_METADATA,
    WRITTEN_RESPONSE,
    WRITTEN_TENANT,
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

MAX_IDENTIFIER_CHARACTERS = 512

Identifier = Annotated[str, Field(min_length=1, max_length=MAX_IDENTIFIER_CHARACTERS)]
"""A caller's identifier: 1 to 512 characters."""


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


class UnreadPart(BaseModel):
    """A part of a conversation that nothing here reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    position: Annotated[int, Field(ge=0)]
    """Of its message in the conversation, from 0; the response stands after the last one."""
    kind: UnreadKind


class Exchange(BaseModel):
    """What the models see of a conversation: identity-free, the unit of batching and caching."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Text
    """The text of the last user turn. May be empty: a response can be judged alone."""
    images: tuple[SeenImage, ...] = ()
    """Every image in the conversation, in order."""
    response: Text
    """The answer to judge."""
    unread_parts: tuple[UnreadPart, ...] = ()
    """Every part of the conversation that is neither text nor image, in order."""

    def question(self) -> str:
        """Return what a detector reads as the question: the prompt, then the texts that stand in images, by lines."""
        if not self.images:
            return self.prompt
        return "\n".join(text for text in (self.prompt, *(image.text for image in self.images)) if text)

    def with_image_texts_said(self) -> Self:
        """Return the exchange as if the response said what stands in the images, and nothing stood in them."""
        texts = [image.text for image in self.images if image.text]
        if not texts:
            return self
        images = tuple(SeenImage(text="") if image.text else image for image in self.images)
        response = "\n".join(text for text in (self.response, *texts) if text)
        return self.model_copy(update={"images": images, "response": response})


MAX_IMAGE_PARTS = 1_000
"""Images in one conversation, those included that are not looked at: a record of a few megabytes could name a hundred
thousand, and the verdict would have to say of each what became of it."""


def _have_parts(messages: Sequence[Message]) -> bool:
    # Most messages are text; asking each of them for its parts would take a tenth of the time of a cached verdict.
    for message in messages:  # noqa: SIM110 - a generator would take twice as long
        if isinstance(message.content, tuple):
            return True
    return False


def _image_references(messages: Sequence[Message]) -> tuple[str, ...]:
    if not _have_parts(messages):
        return ()
    return tuple(chain.from_iterable(message.image_references() for message in messages))


def _unread_parts(messages: Sequence[Message]) -> tuple[UnreadPart, ...]:
    if not _have_parts(messages):
        return ()
    return tuple(
        UnreadPart(position=position, kind=part.kind)
        for position, message in enumerate(messages)
        if isinstance(message.content, tuple)
        for part in message.content
        if isinstance(part, UnreadContent)
    )


def _require_few_parts(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    if len(messages) > MAX_MESSAGES:
        raise ValueError(f"expected at most {MAX_MESSAGES} messages, got {len(messages)}")
    if not _have_parts(messages):
        return messages
    num_parts = sum(len(message.content) for message in messages if isinstance(message.content, tuple))
    if num_parts > MAX_PARTS:
        raise ValueError(f"expected at most {MAX_PARTS} parts in all messages, got {num_parts}")
    num_images, num_unread = len(_image_references(messages)), len(_unread_parts(messages))
    if num_images > MAX_IMAGE_PARTS:
        raise ValueError(f"expected at most {MAX_IMAGE_PARTS} images, got {num_images}")
    if num_unread > MAX_UNREAD_PARTS:
        raise ValueError(f"expected at most {MAX_UNREAD_PARTS} parts that are neither text nor image, got {num_unread}")
    return messages


class ConversationEvent(WireModel):
    """One conversation to moderate, up to and including the MLLM's response."""

    schema_version: SchemaVersion
    event_id: Identifier
    """The caller's name for the event, in every result of it. An event that comes twice has two results, unless
    `stream.deduplicate_event_ids` is set."""
    conversation_id: Identifier
    """The Kafka key; events of one conversation keep their order."""
    tenant: Annotated[Identifier, WithJsonSchema(WRITTEN_TENANT)] = "default"
    """Selects the policy's rules."""
    occurred_at: OccurredAt
    """When the response was given."""
    # Fails at the first message at fault: errors of millions of them would fill the memory.
    messages: Annotated[
        tuple[Message, ...],
        Field(fail_fast=True),
        AfterValidator(_require_few_parts),
        WithJsonSchema(WRITTEN_MESSAGES),
    ]
    """The conversation before the response, oldest first. May be empty: a response can be judged alone."""
    response: Annotated[Text | None, WithJsonSchema(WRITTEN_RESPONSE)] = None
    """The MLLM's answer to the messages, as text. None: the MLLM that is configured shall answer, unless the
    last message calls tools: then that is the answer."""
    metadata: Annotated[dict[str, JsonValue], WithJsonSchema(WRITTEN_METADATA)] = Field(default_factory=dict)
    """The caller's own data. It is neither read nor passed on."""

    def image_references(self) -> tuple[str, ...]:
        """Return the references of every image in the conversation, in order; equal ones as often as they stand."""
        return _image_references(self.messages)

    def unread_parts(self) -> tuple[UnreadPart, ...]:
        """Return every part of the conversation that is neither text nor image, in order."""
        return _unread_parts(self.messages)

    def lacks_response(self) -> bool:
        """Tell whether an MLLM has to answer: there is no response, nor does an assistant call tools at the end.

        Calls that wait for their results are the answer; no MLLM could add to them.
        """
        return self.response is None and not self._called()

    def exchange(self, response: str, images: Sequence[SeenImage] | None = None) -> Exchange:
        """Return what the models see, with `response` as the answer; a blank one gives way to the calls before it.

        The prompt is the last user turn: the user messages back to the last assistant message that stands before one of
        them. What an assistant said or called after the turn does not end it, nor do messages of other roles. Images
        and unread parts of the whole conversation are included.

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
        return Exchange(
            prompt=self._last_user_turn(),
            images=seen,
            response=(is_blank(response) and self._called()) or response,
            unread_parts=self.unread_parts(),
        )

    def with_images(self, data_urls: Mapping[str, str]) -> Self:
        """Return the event with data URLs in place of references, so that nobody has to fetch them again.

        Args:
            data_urls: by reference; a reference that is not among them stays.
        """
        messages = tuple(message.with_images(data_urls) for message in self.messages)
        return self.model_copy(update={"messages": messages})

    def _called(self) -> str:
        """Return what an assistant says at the end where it calls tools: the answer, if there is no other.

        They may stand in several messages, and messages of which nobody sees anything may follow.
        """
        turn: list[Message] = []
        for message in reversed(self.messages):
            if message.role != "assistant":
                break
            if turn or not is_blank(message.said()):
                turn.append(message)
        if not turn or not (turn[0].tool_calls or turn[0].function_call):
            return ""
        return "\n".join(said for said in (message.said() for message in reversed(turn)) if said)

    def last_user_turns(self, number: int) -> list[str]:
        """Return the text of the last user turns, the newest first; fewer where there are no more."""
        turns: list[list[str]] = [[]]
        for message in reversed(self.messages):
            if message.role == "user":
                turns[-1].append(message.said())
            elif message.role == "assistant" and turns[-1]:
                if len(turns) == number:
                    break
                turns.append([])
        return ["\n".join(reversed(turn)) for turn in turns if turn]

    def _last_user_turn(self) -> str:
        return next(iter(self.last_user_turns(1)), "")
