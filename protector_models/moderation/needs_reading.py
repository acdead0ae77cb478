"""What the last user turns say of the person's needs, each turn read as a text alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protector_models.moderation.cached_outputs import ObtainedOutput
from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.messages.blanks import is_blank
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.policy.rules import Decision
from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import NeedsFinding

NUM_TURNS = 3
"""User turns that are read, the last ones: who said it a moment ago still means it."""
_MAX_CHARACTERS = 6_000
"""Of a turn that are read, half of them from its end: what is longer is mostly pasted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadNeeds:
    """What was found in the turns of one event."""

    scores: Mapping[str, float]
    """By need, the highest of any turn. Empty where the detector knows no needs, or failed on all turns."""
    status: StageStatus
    """`partial`: some turns, or some of one, were not read; `failed`: none was."""
    detectors: tuple[str, ...]
    """Who read, each "name@revision"."""
    cached: bool

    def finding(self, decision: Decision) -> NeedsFinding | None:
        """Return what the verdict says of it; None where the detector knows no needs."""
        if not self.scores and self.status is not StageStatus.FAILED:
            return None
        return NeedsFinding(
            scores=dict(self.scores), found=decision.need, completion=decision.completion, status=self.status
        )


def list_turns(event: ConversationEvent) -> list[Exchange]:
    """Return the last user turns as texts alone, the newest first; equal ones once."""
    said = dict.fromkeys(turn for turn in event.last_user_turns(NUM_TURNS) if not is_blank(turn))
    return [Exchange(prompt="", response=_cut(turn)) for turn in said]


def has_cut_turns(event: ConversationEvent) -> bool:
    """Tell whether some turn is so long that its middle is not read."""
    return any(len(turn) > _MAX_CHARACTERS for turn in event.last_user_turns(NUM_TURNS))


def join_turns(read: Sequence[ObtainedOutput[Assessment]], *, is_cut: bool) -> ReadNeeds:
    """Return what the turns of one event say together.

    Args:
        read: what the detector made of each turn, at least one.
        is_cut: whether the middle of some turn was not given to it.
    """
    assessments = [one.output for one in read if isinstance(one.output, Assessment)]
    scores: dict[str, float] = {}
    for assessment in assessments:
        for need, score in assessment.needs.items():
            scores[need] = max(score, scores.get(need, 0.0))
    is_read = len(assessments) == len(read) and not any(assessment.truncated for assessment in assessments)
    is_complete = is_read and not is_cut
    status = StageStatus.COMPLETE if is_complete else StageStatus.PARTIAL
    return ReadNeeds(
        scores=scores,
        status=status if assessments else StageStatus.FAILED,
        detectors=tuple(dict.fromkeys(assessment.detector for assessment in assessments)),
        cached=all(one.cached for one in read),
    )


def _cut(turn: str) -> str:
    if len(turn) <= _MAX_CHARACTERS:
        return turn
    half = _MAX_CHARACTERS // 2
    return f"{turn[:half]}\n{turn[-half:]}"
