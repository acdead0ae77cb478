"""How an event ends that was judged: what its verdict says, and what of it may be delivered."""

from dataclasses import dataclass
from functools import cache

from protector_models.moderation.answer_stage import Answered
from protector_models.moderation.cached_outputs import ObtainedOutput
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.needs_reading import ReadNeeds
from protector_models.moderation.outages import Outage
from protector_models.moderation.policy.rules import Decision
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.prompts import JudgedPrompt
from protector_models.moderation.revisions import name_all
from protector_models.moderation.rewrite_progress import Rewriting
from protector_models.moderation.stages import Stage, StageStatus
from protector_models.moderation.verdict import (
    Action,
    EvaluationStatus,
    Failure,
    Outcome,
    ShadowDecision,
    Verdict,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """An answered event with its assessment and what the rules say of it.

    Where the request was kept from the MLLM, the response is empty, and assessment and decision are the request's.
    """

    answered: Answered
    asked: str
    """The detector that was asked, as far as known: "name@revision"."""
    assessed: ObtainedOutput[Assessment]
    decision: Decision
    prompt: JudgedPrompt | None = None
    """The request, where it was judged as well."""
    needs: ReadNeeds | None = None
    """What the person needs, where it had to be known."""
    shadow: ShadowDecision | None = None
    """What the shadow policy says of it."""
    policy_revision: str
    """Names the policy that decided, whichever is in force when the response has been rewritten."""

    @property
    def is_kept_from_mllm(self) -> bool:
        """Whether there is no response, because of the request."""
        return self.prompt is not None and self.prompt.is_enforced


def decide(answered: Answered, output: Assessment | ItemFailure) -> Decision:
    """Return what the rules say of a response, also where the detector failed on it, or was away."""
    if isinstance(output, Assessment):
        return answered.rules.decide(output, answered.images.findings)
    return answered.rules.decide_without_assessment(
        answered.images.findings,
        has_unread_parts=bool(answered.exchange.unread_parts),
        was_away=isinstance(output, Outage),
    )


def conclude(item: Decided, rewriting: Rewriting, *, include_original: bool) -> Outcome:
    """Return how an event ends.

    Args:
        item: its response, judged.
        rewriting: what became of the response where it was to be rewritten.
        include_original: whether the verdict carries the original of a response that is not delivered.
    """
    output, rules = item.assessed.output, item.answered.rules
    action = Action.REVIEW if rewriting.status is StageStatus.FAILED else item.decision.action
    if isinstance(output, ItemFailure) and not isinstance(output, Outage) and rules.on_failure == "dead_letter":
        return Failure(stage=Stage.ASSESS, error=output.error, message=output.message)
    delivered_action = Action.ALLOW if rules.shadow else action
    original = None if item.is_kept_from_mllm else item.answered.exchange.response
    response = _deliverable(delivered_action, item.decision, original, rewriting, rules)
    return Verdict(
        action=delivered_action,
        category=item.decision.category,
        response=response,
        original_response=original if include_original and response != original else None,
        assessment=None if isinstance(output, ItemFailure) or item.is_kept_from_mllm else output,
        rewrite_assessment=rewriting.assessment,
        rewrite_method=rewriting.method,
        rewrite_refused_reason=rewriting.refused_reason,
        images=item.answered.images.findings,
        evaluation_status=_evaluation_status(
            item.answered.images.status,
            item.answered.generation,
            _assessment_status(item),
            rewriting.status,
            rewriting.verification,
        ),
        shadow_action=action if rules.shadow else None,
        policy_version=item.policy_revision,
        model_revisions=_revisions_of(item, rewriting),
        cached=item.assessed.cached
        and rewriting.cached
        and item.answered.images.cached
        and item.answered.generation is StageStatus.SKIPPED
        and (item.prompt is None or item.prompt.assessed.cached)
        and (item.needs is None or item.needs.cached),
        prompt=None if item.prompt is None else item.prompt.finding(),
        needs=None if item.needs is None else item.needs.finding(item.decision),
        shadow_policy=item.shadow,
    )


def _assessment_status(item: Decided) -> StageStatus:
    if item.is_kept_from_mllm:
        return StageStatus.SKIPPED
    output = item.assessed.output
    return StageStatus.FAILED if isinstance(output, ItemFailure) else output.status()


@cache
def _evaluation_status(
    images: StageStatus,
    generation: StageStatus,
    assessment: StageStatus,
    rewrite: StageStatus,
    verification: StageStatus,
) -> EvaluationStatus:
    """Return one of the few there are; making each anew is a tenth of what a cached verdict costs."""
    return EvaluationStatus(
        images=images, generation=generation, assessment=assessment, rewrite=rewrite, verification=verification
    )


def _revisions_of(item: Decided, rewriting: Rewriting) -> dict[str, str]:
    """Return who made the outputs that a verdict rests on; where the detector failed, who was asked."""
    output, delivered = item.assessed.output, rewriting.assessment
    detectors = [output.detector if isinstance(output, Assessment) else item.asked]
    if item.prompt is not None:
        read = item.prompt.assessed.output
        detectors.insert(0, read.detector if isinstance(read, Assessment) else item.prompt.asked)
    if item.needs is not None:
        detectors += item.needs.detectors
    if delivered is not None:
        detectors.append(delivered.detector)
    made_by = {
        "detector": name_all(detectors),
        "images": item.answered.images.reader,
        "detoxifier": rewriting.detoxifier,
        "second_opinion": rewriting.second_opinion,
        "mllm": item.answered.mllm,
    }
    return {model: revision for model, revision in made_by.items() if revision is not None}


def _deliverable(
    action: Action, decision: Decision, original: str | None, rewriting: Rewriting, rules: TenantRules
) -> str | None:
    match action:
        case Action.ALLOW:
            return original
        case Action.REWRITE:
            return rewriting.text
        case Action.REVIEW:
            return original if rules.deliver_under_review and not decision.withheld else None
        case Action.BLOCK:
            return None
