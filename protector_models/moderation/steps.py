"""Moderation in two steps: every event is decided, and the responses of a few are rewritten, which takes longer."""

from collections.abc import Sequence
from typing import Protocol

from protector_models.moderation.conclusions import Decided
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.verdict import Outcome


class ModeratesInSteps(Protocol):
    """Does in two calls what `Moderates` does in one, with the same outcomes.

    What is decided stays so: a rewriting that fails may be tried again by itself.
    """

    async def decide(self, events: Sequence[ConversationEvent]) -> list[Outcome | Decided]:
        """Decide each event, whatever its neighbours are. `Decided` stands for one whose response is to be rewritten.

        Raises:
            DependencyError: a model is gone or late; nothing was decided.
            UnforeseenError: some event brings out a fault; nothing was decided.
        """

    async def rewrite(self, decided: Sequence[Decided]) -> list[Outcome]:
        """Rewrite the responses of events that were decided, by any calls; the outcome of each, in order.

        Raises:
            DependencyError: a model is gone or late; nothing is released.
            UnforeseenError: some event brings out a fault; nothing is released.
        """
