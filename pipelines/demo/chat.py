"""A conversation with a language model behind the guard: only what was judged is said."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import DependencyError, UnansweredError
from protector_models.moderation.held_back import HeldBackAnswer, PieceNotJudgedError
from protector_models.moderation.messages.message import Message
from protector_models.moderation.one_turn import ANY_TIME
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Moderates
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Action, Failure, Outcome, RewriteMethod, Verdict

_REMEMBERED_MESSAGES = 12
"""Of the conversation so far: a small model loses its thread."""


class Speaks(Protocol):
    """A language model that answers while it is read along."""

    def stream(self, event: ConversationEvent) -> AsyncGenerator[str, None]:
        """Answer a conversation; yield the pieces as they are written. Closing the iterator ends the writing.

        Raises:
            UnansweredError: it cannot answer this.
            ModelUnavailableError: it is gone or late.
        """


class Ending(StrEnum):
    """How a turn ended."""

    WHOLE = "whole"
    """The model came to its end; sentences may have been rewritten or left out."""
    REPLACED = "replaced"
    """The policy's text, or one that was made anew, ended it."""
    WITHHELD = "withheld"
    """What followed is not shown, and nothing stands in for it."""
    NOT_JUDGED = "not_judged"
    """Something could not be judged: it, and what followed, is not shown."""
    UNANSWERED = "unanswered"
    """The model broke off, or said nothing."""


class Finding(BaseModel):
    """What was found in a passage that is not shown as it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    category: str | None
    harmfulness: float | None
    method: RewriteMethod | None
    """How what is shown in its place was made."""


class ChatTurn(BaseModel):
    """What became of one turn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    said: str
    """By the user."""
    delivered: str
    """Of the answer, or in its place; what the model itself wrote is in nothing that is printed."""
    ending: Ending
    error: str | None
    """Why it is `not_judged` or `unanswered`: a class of error."""
    num_judged: int
    """Passages that were judged, each with what came before it."""
    harmfulness: float | None
    """The highest of them; None where there is none."""
    findings: tuple[Finding, ...]


class Chat:
    """Talks with a model, turn after turn; the model remembers what was delivered, not what it wrote."""

    def __init__(
        self,
        model: Speaks,
        moderator: Moderates,
        rules: TenantRules,
        *,
        name_language: Callable[[str], str | None] | None = None,
    ) -> None:
        """Begin.

        Args:
            model: answers.
            moderator: judges, and rewrites.
            rules: what it goes by.
            name_language: as the moderator has it, for the policy's texts.
        """
        self._model = model
        self._moderator = moderator
        self._rules = rules
        self._name_language = name_language
        self._messages: list[Message] = []
        self._num_turns = 0

    async def say(self, text: str, show: Callable[[str], None]) -> ChatTurn:
        """Say something; return what became of the answer.

        Args:
            text: of the user.
            show: is called with each piece of the answer once it may be seen.
        """
        self._num_turns += 1
        self._messages.append(Message(role="user", content=text))
        event = ConversationEvent(
            schema_version=1,
            event_id=f"chat-{self._num_turns}",
            conversation_id="chat",
            occurred_at=ANY_TIME,
            messages=tuple(self._messages[-_REMEMBERED_MESSAGES:]),
            response=None,
        )
        judge = _Noting(self._moderator)
        held_back = HeldBackAnswer(event, judge, self._rules, name_language=self._name_language)
        ending, error = await self._answer(event, held_back, show)
        delivered = held_back.progress.delivered
        self._messages.append(Message(role="assistant", content=delivered))
        return ChatTurn(
            said=text,
            delivered=delivered,
            ending=ending,
            error=error,
            num_judged=judge.num_judged,
            harmfulness=judge.harmfulness,
            findings=tuple(_to_finding(verdict) for verdict in held_back.findings),
        )

    async def _answer(
        self, event: ConversationEvent, held_back: HeldBackAnswer, show: Callable[[str], None]
    ) -> tuple[Ending, str | None]:
        written = ""
        try:
            async with aclosing(self._model.stream(event)) as pieces:
                async for piece in pieces:
                    written += piece
                    show(await _judged(held_back, written))
                    if held_back.progress.is_over:
                        break
            show(await _judged(held_back, written, is_whole=True))
        except PieceNotJudgedError as error:
            return Ending.NOT_JUDGED, error.failure.error
        except (UnansweredError, DependencyError) as error:
            return Ending.UNANSWERED, type(error).__name__
        if not written.strip():
            return Ending.UNANSWERED, "EmptyAnswer"
        if held_back.progress.is_withheld:
            return Ending.WITHHELD, None
        return Ending.REPLACED if held_back.progress.is_over else Ending.WHOLE, None


async def _judged(held_back: HeldBackAnswer, written: str, *, is_whole: bool = False) -> str:
    """Return what may be shown now; that nobody is there to judge it is no fault of the model that writes it."""
    try:
        return await held_back.read(written, is_whole=is_whole)
    except DependencyError as error:
        failure = Failure(stage=Stage.ASSESS, error=type(error).__name__, message=str(error))
        raise PieceNotJudgedError(failure) from error


class _Noting:
    """Passes on to a Moderator, and notes what it says. Implements `Moderates`."""

    def __init__(self, moderator: Moderates) -> None:
        self._moderator = moderator
        self.num_judged = 0
        self.harmfulness: float | None = None

    async def moderate(self, events: Sequence[ConversationEvent]) -> list[Outcome]:
        """Moderate each event."""
        outcomes = await self._moderator.moderate(events)
        for outcome in outcomes:
            if isinstance(outcome, Verdict):
                self.num_judged += 1
                if outcome.assessment is not None:
                    self.harmfulness = max(self.harmfulness or 0.0, outcome.assessment.harmfulness)
        return outcomes


def _to_finding(verdict: Verdict) -> Finding:
    return Finding(
        action=verdict.action,
        category=verdict.category,
        harmfulness=None if verdict.assessment is None else verdict.assessment.harmfulness,
        method=verdict.rewrite_method,
    )
