"""An answer that comes as all that is written of it so far, again and again, and nobody says which time is the last.

Each time two things are told: what goes out if nothing follows, and how much of it stays whatever follows. Either is
judged. Only what is new is, and the end that is not settled: it would go out, were this the last time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.held_back import HeldBackAnswer, Progress
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Moderates
from protector_models.moderation.verdict import Action, Outcome, Verdict
from services.http.call_memory import KeptAnswer, KeptEnding, begins, digest_of
from services.http.moderators import Moderators


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeseenAnswer:
    """What becomes of an answer."""

    text: str
    """What goes out if nothing follows."""
    num_settled: int
    """Characters of it that stay whatever follows, from its beginning on."""
    withheld_for: Verdict | None
    """Why nothing more may go out, and nothing stands in for it; None where something may."""
    kept: KeptAnswer
    """What to come back with when more is written."""


async def foresee(
    text: str,
    kept: Sequence[KeptAnswer] | None,
    *,
    event: ConversationEvent,
    moderators: Moderators,
    rules: TenantRules,
    context: str,
) -> ForeseenAnswer:
    """Judge an answer as far as it is written.

    Laws (held by tests): whatever is kept or lost in between, what was settled stays; nothing of what goes out is there
    unjudged.

    An end that may not go out, and has nothing to stand in for it, ends the answer where it comes for the second time,
    or at the first time of all: then it may well be the last one. Else it is left out; more may make it something else.

    Args:
        text: all that is written of it.
        kept: how far the answers of the same call were, this one among them or not; None: this is the first time.
        event: the conversation that is answered.
        moderators: judge, and rewrite.
        rules: of the event's tenant.
        context: a digest of the question and the policy: what was judged by another is worked out anew.

    Raises:
        PieceNotJudgedError: something new cannot be judged.
        DependencyError: a model is away.
    """
    known = _find(text, [answer for answer in kept or () if answer.context == context])
    progress = None if known is None else known.progress(text)
    settled = HeldBackAnswer(event, moderators.live, rules, name_language=moderators.name_language, progress=progress)
    await settled.read(text)
    ended = settled.progress
    if ended.is_withheld:
        return _foreseen(text, context, ended, "", withheld_for=settled.findings[-1])
    if ended.is_over or ended.num_judged == len(text):
        return _foreseen(text, context, ended, "")
    ending = None if known is None or known.num_judged != ended.num_judged else known.ending
    is_again = ending is not None and ending.num_characters == len(text)
    judged = _Judged(moderators.shadow)
    if ending is not None and not is_again:
        await HeldBackAnswer(event, judged, rules, progress=ended).read(text, is_whole=True)
        if judged.has_found_harm:
            # As before it grew: a rewrite of each length would cost a language model's time for every word.
            return _foreseen(text, context, ended, ending.delivered, ending=ending)
    ahead = HeldBackAnswer(event, moderators.live, rules, name_language=moderators.name_language, progress=ended)
    delivered = await ahead.read(text, is_whole=True)
    if ahead.progress.is_withheld and (kept is None or is_again):
        return _foreseen(text, context, ended, "", withheld_for=ahead.findings[-1])
    if not ahead.findings:
        return _foreseen(text, context, ended, delivered)
    ending = KeptEnding(num_characters=len(text), digest=digest_of(text), delivered=delivered)
    return _foreseen(text, context, ended, delivered, ending=ending)


class _Judged:
    """Judges, and keeps in mind what it found. Implements `Moderates`."""

    def __init__(self, moderator: Moderates) -> None:
        self._moderator = moderator
        self.has_found_harm = False
        """Whether some event is one that the policy does anything but allow."""

    async def moderate(self, events: Sequence[ConversationEvent]) -> list[Outcome]:
        """Judge each event."""
        outcomes = await self._moderator.moderate(events)
        actions = [outcome.shadow_action or outcome.action for outcome in outcomes if isinstance(outcome, Verdict)]
        self.has_found_harm |= any(action is not Action.ALLOW for action in actions)
        return outcomes


def _find(text: str, kept: Sequence[KeptAnswer]) -> KeptAnswer | None:
    """Return how far an answer was, with the end that it had: several may have begun alike, and then any will do."""
    found = [
        answer if answer.ending is None or _has_ending(text, answer.ending) else _without_ending(answer)
        for answer in kept
        if answer.is_of(text)
    ]
    return max(found, key=lambda answer: (answer.num_judged, answer.ending is not None), default=None)


def _has_ending(text: str, ending: KeptEnding) -> bool:
    return begins(text, ending.num_characters, ending.digest)


def _without_ending(answer: KeptAnswer) -> KeptAnswer:
    return answer.model_copy(update={"ending": None})


def _foreseen(
    text: str,
    context: str,
    ended: Progress,
    delivered: str,
    *,
    ending: KeptEnding | None = None,
    withheld_for: Verdict | None = None,
) -> ForeseenAnswer:
    judged = text[: ended.num_judged]
    return ForeseenAnswer(
        text=ended.delivered + delivered,
        num_settled=len(ended.delivered),
        withheld_for=withheld_for,
        kept=KeptAnswer(
            context=context,
            num_judged=ended.num_judged,
            digest=digest_of(judged),
            delivered=None if ended.delivered == judged else ended.delivered,
            is_over=ended.is_over,
            ending=ending,
        ),
    )
