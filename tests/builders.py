"""Builders of events, exchanges, assessments and policies: what a test does not name has a sensible default."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pydantic import JsonValue

from protector_models.moderation.conversation import ConversationEvent, Exchange, SeenImage, UnreadPart
from protector_models.moderation.messages.message import (
    ImagePart,
    ImageUrl,
    Message,
    TextPart,
    UnreadContent,
    UnreadKind,
)
from protector_models.moderation.model_outputs import Assessment, Coverage, ItemFailure, ScoredPiece, UnreadImage
from protector_models.moderation.policy.policy import Policy, TenantOverrides
from protector_models.moderation.policy.rules import Rule
from protector_models.moderation.policy.texts import PolicyText
from protector_models.moderation.ports import Answer
from protector_models.moderation.verdict import Action

SAFE_TEXT = "Let us talk about something else."
"""The default safe completion of `policy()`."""

OCCURRED_AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def user(text: str = "How do I get home?", *, images: Sequence[str] = ()) -> Message:
    """Build a user's message; with images it has parts."""
    if not images:
        return Message(role="user", content=text)
    pictures = (ImagePart(type="image_url", image_url=ImageUrl(url=image)) for image in images)
    return Message(role="user", content=(TextPart(type="text", text=text), *pictures))


def assistant(text: str | None = "By bus.", *, tool_calls: tuple[JsonValue, ...] | None = None) -> Message:
    """Build an assistant's message."""
    return Message(role="assistant", content=text, tool_calls=tool_calls)


def event(
    response: str | None = "Take the bus.",
    *,
    prompt: str = "How do I get home?",
    images: Sequence[str] = (),
    event_id: str = "event-1",
    conversation_id: str = "conversation-1",
    tenant: str = "default",
    occurred_at: datetime = OCCURRED_AT,
    messages: Sequence[Message] | None = None,
    metadata: Mapping[str, JsonValue] | None = None,
) -> ConversationEvent:
    """Build an event; without `messages` it has one user message, made from `prompt` and `images`."""
    return ConversationEvent(
        schema_version=1,
        event_id=event_id,
        conversation_id=conversation_id,
        tenant=tenant,
        occurred_at=occurred_at,
        messages=tuple(messages) if messages is not None else (user(prompt, images=images),),
        response=response,
        metadata=dict(metadata or {}),
    )


def exchange(
    response: str = "Take the bus.",
    *,
    prompt: str = "How do I get home?",
    images: Sequence[str | SeenImage] = (),
    unread_parts: Sequence[UnreadPart] = (),
) -> Exchange:
    """Build an exchange; a string among its images is the text in one."""
    seen = (image if isinstance(image, SeenImage) else SeenImage(text=image) for image in images)
    return Exchange(prompt=prompt, images=tuple(seen), response=response, unread_parts=tuple(unread_parts))


def unread_part(kind: UnreadKind = UnreadKind.AUDIO, *, position: int = 0) -> UnreadPart:
    """Build a part that nothing reads."""
    return UnreadPart(position=position, kind=kind)


def audible(text: str = "Listen!") -> Message:
    """Build a user's message with a text and a part that nothing reads."""
    heard = UnreadContent(type="unread", kind=UnreadKind.AUDIO)
    return Message(role="user", content=(TextPart(type="text", text=text), heard))


def unread(reason: str = "ImagesNotRead") -> SeenImage:
    """Build an image that was not read."""
    return SeenImage(unread_reason=reason)


def scored_piece(
    harmfulness: float = 0.0, *, start: int = 0, end: int = 10, categories: Mapping[str, float] | None = None
) -> ScoredPiece:
    """Build a piece of a response as a detector judges it."""
    return ScoredPiece(start=start, end=end, harmfulness=harmfulness, categories=dict(categories or {}))


def assessment(
    harmfulness: float = 0.0,
    *,
    categories: Mapping[str, float] | None = None,
    detector: str = "detector@1",
    characters_unread: int = 0,
    images_unread: int = 0,
    parts_unread: int = 0,
    pieces: Sequence[ScoredPiece] | None = None,
) -> Assessment:
    """Build an assessment of an exchange with 100 characters and 2 images."""
    return Assessment(
        harmfulness=harmfulness,
        categories=dict(categories or {}),
        detector=detector,
        truncated=characters_unread > 0,
        coverage=Coverage(
            characters_evaluated=100 - characters_unread,
            characters_total=100,
            images_evaluated=2 - images_unread,
            images_total=2,
            unread_images=tuple(UnreadImage(position=at, reason="FetchFailed") for at in range(images_unread)),
            unread_parts=(unread_part(),) * parts_unread,
            unread_parts_total=parts_unread,
        ),
        pieces=None if pieces is None else tuple(pieces),
    )


def rule(threshold: float = 0.5, action: Action = Action.REWRITE, *, category: str = "any") -> Rule:
    """Build a rule."""
    return Rule.model_validate({"category": category, "threshold": threshold, "action": action})


def policy(
    *,
    rules: Sequence[Rule] | None = None,
    safe_completions: Mapping[str, PolicyText] | None = None,
    tenants: Mapping[str, TenantOverrides] | None = None,
    version: str = "policy-1",
    **fields: object,
) -> Policy:
    """Build a policy that rewrites from 0.5 on, by a generative model; other fields of `TenantRules` by name."""
    return Policy.model_validate(
        {
            "version": version,
            "rules": tuple(rules) if rules is not None else (rule(),),
            "rewrite_methods": {"default": ["generate", "complete"]},
            "safe_completions": {"default": SAFE_TEXT, **(safe_completions or {})},
            "tenants": dict(tenants or {}),
            **fields,
        }
    )


def texts_of(answers: Sequence[Answer | ItemFailure]) -> list[str | ItemFailure]:
    """Return the texts of an MLLM's answers; failures stay as they are."""
    return [answer.text if isinstance(answer, Answer) else answer for answer in answers]
