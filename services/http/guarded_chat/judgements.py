"""What was judged of a chat, where OpenAI's clients look for it, and answers that are withheld rather than replaced."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Moderates
from protector_models.moderation.revisions import name_all
from protector_models.moderation.verdict import Action, Outcome, Verdict
from services.http.results import InputType, ModerationResult, to_result

_SEVERITY = list(Action)


class _Judged(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChatResult(ModerationResult):
    """The result for the input, or for one answer."""

    type: Literal["moderation_result"] = "moderation_result"
    model: str
    """The detector, "name@revision"."""
    index: int
    """Of the answer; 0 for the input."""


class ChatResults(_Judged):
    """What was judged."""

    type: Literal["moderation_results"] = "moderation_results"
    model: str
    results: list[ChatResult]


class NotJudged(_Judged):
    """Stands for what was not judged."""

    type: Literal["error"] = "error"
    code: str
    message: str


Judged = Annotated[ChatResults | NotJudged, Field(discriminator="type")]


class ChatModeration(_Judged):
    """What was judged of a chat."""

    input: Judged
    output: Judged


FAILED_OPEN = NotJudged(code="failed_open", message="the detector failed, and the policy goes on without it")
INPUT_NOT_ASKED = NotJudged(code="not_asked", message="neither the policy nor the request asks for it")
NOTHING_SAID = NotJudged(code="nothing_said", message="there was nothing to judge")


class Withholding:
    """Moderates, and withholds what would be replaced. Implements `Moderates`."""

    def __init__(self, moderator: Moderates, *, whatever_is_found: bool) -> None:
        """Put it around a moderator.

        Args:
            moderator: judges.
            whatever_is_found: whether that is withheld, too, which is found and yet delivered as it is, as in shadow.
        """
        self._moderator = moderator
        self._whatever_is_found = whatever_is_found

    async def moderate(self, events: Sequence[ConversationEvent]) -> list[Outcome]:
        """Moderate each event.

        Raises:
            DependencyError: as the moderator.
            UnforeseenError: as the moderator.
        """
        outcomes = await self._moderator.moderate(events)
        return [self._withhold(event, outcome) for event, outcome in zip(events, outcomes, strict=True)]

    def _withhold(self, event: ConversationEvent, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Verdict):
            return outcome
        is_found = self._whatever_is_found and action_of(outcome) is not Action.ALLOW
        if outcome.response == event.response and not is_found:
            return outcome
        without = dict.fromkeys(("response", "rewrite_method", "rewrite_assessment", "shadow_action"))
        return outcome.model_copy(update={**without, "action": Action.BLOCK})


def action_of(verdict: Verdict) -> Action:
    """Return what the policy does, or would do were it not in shadow."""
    return verdict.shadow_action or verdict.action


def most_severe(verdicts: Sequence[Verdict]) -> Action:
    """Return the most severe action of verdicts on one answer."""
    return max(map(action_of, verdicts), key=_SEVERITY.index, default=Action.ALLOW)


def to_results(verdicts: Mapping[int, Sequence[Verdict]], rules: TenantRules, *, model: str) -> ChatResults | NotJudged:
    """Return the results for answers, by their indexes, or why there are none.

    Args:
        verdicts: on the pieces of each.
        rules: of the tenant.
        model: the detector, where no verdict names it.
    """
    judged = {index: found for index, found in sorted(verdicts.items()) if found}
    if not judged:
        return NOTHING_SAID
    if any(_went_unjudged(verdict) for found in judged.values() for verdict in found):
        return FAILED_OPEN
    revisions = (verdict.model_revisions.get("detector") for found in judged.values() for verdict in found)
    detector = name_all([name for name in revisions if name is not None]) or model
    return ChatResults(
        model=detector,
        results=[_to_chat_result(found, rules, index=index, model=detector) for index, found in judged.items()],
    )


def _went_unjudged(verdict: Verdict) -> bool:
    return verdict.assessment is None and action_of(verdict) is Action.ALLOW


def _to_chat_result(verdicts: Sequence[Verdict], rules: TenantRules, *, index: int, model: str) -> ChatResult:
    """Return the result for an answer: of all its pieces, with what else Weir says of the one that is worst."""
    results = [to_result(verdict, rules) for verdict in verdicts]
    worst = max(zip(verdicts, results, strict=True), key=lambda pair: _SEVERITY.index(action_of(pair[0])))[1]
    names = dict.fromkeys(name for result in results for name in result.categories)
    return ChatResult(
        flagged=any(result.flagged for result in results),
        categories={name: any(result.categories.get(name) for result in results) for name in names},
        category_scores={name: max(result.category_scores.get(name, 0.0) for result in results) for name in names},
        category_applied_input_types={name: _join_types(name, results) for name in names},
        weir=worst.weir,
        index=index,
        model=model,
    )


def _join_types(name: str, results: Sequence[ModerationResult]) -> list[InputType]:
    found = {kind for result in results for kind in result.category_applied_input_types.get(name, [])}
    return [kind for kind in ("text", "image") if kind in found]
