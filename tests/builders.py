"""Builders of events, exchanges, assessments and policies: what a test does not name has a sensible default."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pydantic import JsonValue

from protector_models.moderation.conversation import (
    ConversationEvent,
    Exchange,
    ImagePart,
    ImageUrl,
    Message,
    SeenImage,
    TextPart,
)
from protector_models.moderation.policy import Policy, Rule, TenantOverrides
from protector_models.moderation.policy_texts import PolicyText
from protector_models.moderation.verdict import Action, Assessment, Coverage, UnreadImage

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
    response: str = "Take the bus.", *, prompt: str = "How do I get home?", images: Sequence[str | SeenImage] = ()
) -> Exchange:
    """Build an exchange; a string among its images is the text in one."""
    seen = (image if isinstance(image, SeenImage) else SeenImage(text=image) for image in images)
    return Exchange(prompt=prompt, images=tuple(seen), response=response)


def unread(reason: str = "ImagesNotRead") -> SeenImage:
    """Build an image that was not read."""
    return SeenImage(unread_reason=reason)


def assessment(
    harmfulness: float = 0.0,
    *,
    categories: Mapping[str, float] | None = None,
    detector: str = "detector@1",
    characters_unread: int = 0,
    images_unread: int = 0,
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
        ),
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
