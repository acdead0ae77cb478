"""How an event ends that was judged: what its verdict says, and what of it may be delivered."""

from dataclasses import dataclass
from functools import cache

from protector_models.moderation.answer_stage import Answered
from protector_models.moderation.cached_outputs import ObtainedOutput
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.outages import Outage
from protector_models.moderation.policy.rules import Decision
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.revisions import name_all
from protector_models.moderation.rewriting import Rewriting
from protector_models.moderation.stages import Stage, StageStatus
from protector_models.moderation.verdict import Action, EvaluationStatus, Failure, Outcome, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """An answered event with its assessment and what the rules say of it."""

    answered: Answered
    asked: str
    """The detector that was asked, as far as known: "name@revision"."""
    assessed: ObtainedOutput[Assessment]
    decision: Decision


def decide(answered: Answered, output: Assessment | ItemFailure) -> Decision:
    """Return what the rules say of a response, also where the detector failed on it, or was away."""
    if isinstance(output, Assessment):
        return answered.rules.decide(output, answered.images.findings)
    return answered.rules.decide_without_assessment(
        answered.images.findings,
        has_unread_parts=bool(answered.exchange.unread_parts),
        was_away=isinstance(output, Outage),
    )


def conclude(item: Decided, rewriting: Rewriting, *, policy_revision: str, include_original: bool) -> Outcome:
    """Return how an event ends.

    Args:
        item: its response, judged.
        rewriting: what became of the response where it was to be rewritten.
        policy_revision: names the policy that decided.
        include_original: whether the verdict carries the original of a response that is not delivered.
    """
    output, rules = item.assessed.output, item.answered.rules
    action = Action.REVIEW if rewriting.status is StageStatus.FAILED else item.decision.action
    if isinstance(output, ItemFailure) and not isinstance(output, Outage) and rules.on_failure == "dead_letter":
        return Failure(stage=Stage.ASSESS, error=output.error, message=output.message)
    delivered_action = Action.ALLOW if rules.shadow else action
    original = item.answered.exchange.response
    response = _deliverable(delivered_action, item.decision, original, rewriting, rules)
    return Verdict(
        action=delivered_action,
        category=item.decision.category,
        response=response,
        original_response=original if include_original and response != original else None,
        assessment=None if isinstance(output, ItemFailure) else output,
        rewrite_assessment=rewriting.assessment,
        rewrite_method=rewriting.method,
        rewrite_refused_reason=rewriting.refused_reason,
        images=item.answered.images.findings,
        evaluation_status=_evaluation_status(
            item.answered.images.status,
            item.answered.generation,
            StageStatus.FAILED if isinstance(output, ItemFailure) else output.status(),
            rewriting.status,
            rewriting.verification,
        ),
        shadow_action=action if rules.shadow else None,
        policy_version=policy_revision,
        model_revisions=_revisions_of(item, rewriting),
        cached=item.assessed.cached
        and rewriting.cached
        and item.answered.images.cached
        and item.answered.generation is StageStatus.SKIPPED,
    )


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
    if delivered is not None:
        detectors.append(delivered.detector)
    made_by = {
        "detector": name_all(detectors),
        "images": item.answered.images.reader,
        "detoxifier": rewriting.detoxifier,
        "mllm": item.answered.mllm,
    }
    return {model: revision for model, revision in made_by.items() if revision is not None}


def _deliverable(
    action: Action, decision: Decision, original: str, rewriting: Rewriting, rules: TenantRules
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
