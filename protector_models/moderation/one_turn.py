"""Conversations of one turn: a question, and its answer where there is one."""

from collections.abc import Sequence
from datetime import UTC, datetime

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.messages.message import ContentPart, Message

ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)
"""When a turn took place that has no time of its own: events need one, and no model or rule looks at it."""


def make_turn(
    question: str | Sequence[ContentPart],
    answer: str | None,
    *,
    event_id: str,
    tenant: str = "default",
    occurred_at: datetime = ANY_TIME,
) -> ConversationEvent:
    """Return a conversation of one turn, a conversation of its own for each `event_id`.

    Args:
        question: of the user: a text, or texts and images.
        answer: the response; None: the MLLM shall answer.
        event_id: of the event and of its conversation.
        tenant: whose rules apply.
        occurred_at: when the answer was given.

    Raises:
        ValueError: a text has no UTF-8 form, or the id is empty or too long.
    """
    return ConversationEvent(
        schema_version=1,
        event_id=event_id,
        conversation_id=event_id,
        tenant=tenant,
        occurred_at=occurred_at,
        messages=(Message(role="user", content=question if isinstance(question, str) else tuple(question)),),
        response=answer,
    )
