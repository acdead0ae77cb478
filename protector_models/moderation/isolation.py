"""A batch that fails as a whole costs only the event at fault its verdict."""

import logging
import traceback
from collections.abc import Sequence
from pathlib import Path

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import DependencyError
from protector_models.moderation.ports import Moderates
from protector_models.moderation.verdict import Failure, Outcome, Stage

_log = logging.getLogger(__name__)


async def moderate_isolating(moderator: Moderates, events: Sequence[ConversationEvent]) -> list[Outcome]:
    """Moderate a batch; where it fails as a whole and no dependency is at fault, halve it down to the culprit.

    A fault that nobody foresaw then costs one event a dead letter, not a batch, and never stops the caller.

    Raises:
        DependencyError: a model is gone or late; nothing was decided.
    """
    try:
        return await moderator.moderate(events)
    except DependencyError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is put down to one event, which fails
        if len(events) <= 1:
            # Without the error's own text, which may quote the conversation.
            place = traceback.extract_tb(error.__traceback__)[-1]
            message = f"unexpected error at {Path(place.filename).name}:{place.lineno} ({place.name})"
            _log.error("%s: %s", type(error).__name__, message)
            return [Failure(stage=Stage.ASSESS, error=type(error).__name__, message=message) for _ in events]
    half = len(events) // 2
    return [*await moderate_isolating(moderator, events[:half]), *await moderate_isolating(moderator, events[half:])]
