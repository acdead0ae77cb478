"""The check before a rewrite is released: as strong as the finding of harm, for what was kept and what was written.

The detector reads the text as it would be delivered, then without the policy's own sentences, which make what stands
beside them look harmless, and then each sentence by itself, with the question and without. A text of the policy alone
is read as it is. What passes is shown to a second detector of another kind where there is one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from protector_models.moderation.cached_detector import CachedDetector
from protector_models.moderation.cached_outputs import ObtainedOutput
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.harmful_spans import HarmfulSpan
from protector_models.moderation.kept_sentences import find_kept_passages, find_kept_pieces, read_by_itself
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.policy.rules import Decision
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import SecondOpinion
from protector_models.moderation.verdict import Action

_STILL_HARMFUL = "StillHarmful"
"""The detector finds something in what was made."""
_NOT_FULLY_READ = "NotFullyRead"
"""It finds nothing, but did not read all of it."""
_HARMFUL_SENTENCE = "HarmfulSentence"
"""It finds nothing in the whole, but some sentence by itself comes near to harm."""
_SECOND_OPINION = "SecondOpinion"
"""It finds nothing, but the second detector does."""
_NO_SECOND_OPINION = "NoSecondOpinion"
"""It finds nothing, and the second detector could not tell."""

Opinion = Literal["agree", "object", "none"]
"""What a second detector says of a text; "none": it failed on it, is away, or did not read all of it."""
_OPINIONS: Mapping[bool | None, Opinion] = {False: "agree", True: "object", None: "none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A text that is to stand in for a response."""

    exchange: Exchange
    """The text as the response, with the question it answers."""
    rules: TenantRules
    kept: Exchange | None
    """What of it is not the policy's own; None where all of it is."""
    pieces: tuple[str, ...] = ()
    """Of `kept`: what is read by itself."""

    @classmethod
    def of_policy(cls, exchange: Exchange, text: str, rules: TenantRules) -> "Candidate":
        """Return a text of the policy itself."""
        return cls(exchange=exchange.model_copy(update={"response": text}), rules=rules, kept=None)

    @classmethod
    def of_model(cls, exchange: Exchange, text: str, rules: TenantRules) -> "Candidate":
        """Return a text that a model wrote or edited, all of it."""
        written = exchange.model_copy(update={"response": text})
        pieces = tuple(text[piece.start : piece.end] for piece in find_kept_pieces(text, ()))
        return cls(exchange=written, rules=rules, kept=written, pieces=pieces)

    @classmethod
    def of_remainder(
        cls, exchange: Exchange, text: str, rules: TenantRules, left_out: Sequence[HarmfulSpan]
    ) -> "Candidate":
        """Return what is left of a response, with sentences of the policy in the place of its spans."""
        response = exchange.response
        passages = [response[one.start : one.end].strip() for one in find_kept_passages(response, left_out)]
        return cls(
            exchange=exchange.model_copy(update={"response": text}),
            rules=rules,
            kept=exchange.model_copy(update={"response": "\n".join(passages)}) if passages else None,
            pieces=tuple(response[piece.start : piece.end] for piece in find_kept_pieces(response, left_out)),
        )

    def texts(self) -> list[Exchange]:
        """Return what the detector reads: the whole, the whole without the policy's sentences, each piece by itself."""
        if self.kept is None:
            return [self.exchange]
        pieces = [reading for piece in self.pieces for reading in read_by_itself(self.kept, piece)]
        return [self.exchange, self.kept, *pieces]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the check says of one text."""

    assessment: Assessment | None
    """Of the text as it would be delivered; None where the detector failed on it."""
    refused_reason: str | None
    """Why it may not be delivered; None where it may."""
    opinion: Opinion | None = None
    """What the second opinion says; None where it was not asked."""
    second_opinion: str | None = None
    """The one that was asked, "name@revision"."""
    cached: bool
    """True if every assessment came from the cache."""


class ReleaseCheck:
    """Tells which texts may be delivered."""

    def __init__(self, detector: CachedDetector, second_opinion: SecondOpinion | None) -> None:
        self._detector = detector
        self._second_opinion = second_opinion

    async def check(self, candidates: Sequence[Candidate]) -> list[Checked]:
        """Check each text, whatever its neighbours are; same length and order.

        Raises:
            DependencyError: the detector is gone or late; nothing is released.
        """
        texts = [candidate.texts() for candidate in candidates]
        assessed = iter(await self._detector.assess([text for found in texts for text in found]) if texts else [])
        checked = [
            _check(candidate, [next(assessed) for _ in found])
            for candidate, found in zip(candidates, texts, strict=True)
        ]
        return await self._ask_second_opinion(candidates, checked)

    async def _ask_second_opinion(self, candidates: Sequence[Candidate], checked: Sequence[Checked]) -> list[Checked]:
        opinion = self._second_opinion
        asked = {
            place: candidate.kept
            for place, (candidate, one) in enumerate(zip(candidates, checked, strict=True))
            if candidate.kept is not None and one.refused_reason is None
        }
        if opinion is None or not asked:
            return list(checked)
        objections = dict(zip(asked, await opinion.find_objections(list(asked.values())), strict=True))
        return [
            _with_opinion(one, candidate.rules, opinion.revision, _OPINIONS[objections[place]])
            if place in objections
            else one
            for place, (candidate, one) in enumerate(zip(candidates, checked, strict=True))
        ]


def why_not_released(decision: Decision) -> str | None:
    """Return why a text of which the rules say this may not stand in for a response; None where it may."""
    if decision.action is Action.ALLOW:
        return None
    return _NOT_FULLY_READ if decision.found is Action.ALLOW else _STILL_HARMFUL


def _check(candidate: Candidate, assessed: Sequence[ObtainedOutput[Assessment]]) -> Checked:
    whole, *rest = (one.output for one in assessed)
    rules = candidate.rules
    failed = next((one.error for one in (whole, *rest) if isinstance(one, ItemFailure)), None)
    reason = failed
    if isinstance(whole, Assessment) and failed is None:
        reason = why_not_released(rules.decide(whole))
        found = [one for one in rest if isinstance(one, Assessment)]
        if reason is None and found:
            kept, *pieces = found
            reason = why_not_released(rules.decide(kept))
            if reason is None and not all(rules.is_clear(piece, rules.release_margin) for piece in pieces):
                reason = _HARMFUL_SENTENCE
    return Checked(
        assessment=whole if isinstance(whole, Assessment) else None,
        refused_reason=reason,
        cached=all(one.cached for one in assessed),
    )


def _with_opinion(checked: Checked, rules: TenantRules, revision: str, opinion: Opinion) -> Checked:
    refuses = opinion != "agree" and rules.on_second_opinion == "refuse"
    return replace(
        checked,
        refused_reason=(_NO_SECOND_OPINION if opinion == "none" else _SECOND_OPINION) if refuses else None,
        opinion=opinion,
        second_opinion=revision,
    )
