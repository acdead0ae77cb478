"""Conversations of one or several turns through the Moderator, and what became of their answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.messages.message import Message
from protector_models.moderation.one_turn import ANY_TIME
from protector_models.moderation.ports import Moderates
from protector_models.moderation.verdict import Outcome, RewriteMethod, Verdict
from protector_models.moderation.wire.halving import moderate_isolating

TENANT = "default"
BATCH_SIZE = 64

CARING = frozenset({"self_harm", "abuse", "grief", "eating_disorder"})
"""Categories whose text is written for someone in need."""
BLAMELESS = CARING | {"unsafe_advice"}
"""Categories whose texts blame nobody: all others speak to someone who asked for something wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """A conversation up to its answer."""

    turns: tuple[str, ...]
    """User and assistant by turns; the user first and last."""
    response: str


def make_event(talk: Talk, *, event_id: str) -> ConversationEvent:
    """Returns the event of a conversation."""
    return ConversationEvent(
        schema_version=1,
        event_id=event_id,
        conversation_id=event_id,
        tenant=TENANT,
        occurred_at=ANY_TIME,
        messages=tuple(
            Message(role="assistant" if number % 2 else "user", content=turn) for number, turn in enumerate(talk.turns)
        ),
        response=talk.response,
    )


async def moderate_talks(
    moderator: Moderates, talks: Sequence[Talk], *, report_rows: Callable[[int], None]
) -> list[Outcome]:
    """Moderates conversations in batches; same length and order.

    Args:
        moderator: what is measured.
        talks: the conversations.
        report_rows: called with the number of conversations since the last call.

    Raises:
        DependencyError: a model is gone or late.
    """
    outcomes: list[Outcome] = []
    for batch in split_by_count(talks, BATCH_SIZE):
        events = [make_event(talk, event_id=f"row-{len(outcomes) + place}") for place, talk in enumerate(batch)]
        outcomes += await moderate_isolating(moderator, events)
        report_rows(len(batch))
    return outcomes


def text_category(verdict: Verdict) -> str | None:
    """Returns the name of the safe completion that was delivered; None where something else was, or nothing.

    It is that of the category, or of the person's need where that chose it. The neutral text goes by the category.
    """
    if verdict.rewrite_method is not RewriteMethod.COMPLETE:
        return None
    return (verdict.needs and verdict.needs.completion) or verdict.category


def name_ending(verdict: Verdict) -> str:
    """Returns in a word how an answer ended: the category of the text that came, or the method, or the action."""
    if (category := text_category(verdict)) is not None:
        return f"text: {category}"
    if verdict.rewrite_method is not None:
        return f"{verdict.rewrite_method.value}: {verdict.category}"
    return verdict.action.value
