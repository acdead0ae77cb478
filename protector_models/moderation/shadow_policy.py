"""A second policy that decides beside the one in force, by the same assessments, and changes nothing."""

from dataclasses import dataclass

from protector_models.moderation.answer_stage import Answered
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.outages import Outage
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.verdict import ShadowDecision


@dataclass(frozen=True, slots=True)
class ShadowPolicy:
    """A policy in shadow."""

    policy: Policy
    revision: str

    def decide(self, tenant: str, answered: Answered, output: Assessment | ItemFailure) -> ShadowDecision:
        """Return what the policy says of a response that was assessed, or that the detector failed on."""
        policy, images = self.policy, answered.images.findings
        rules = policy.for_tenant(tenant)
        is_refused = policy.on_unknown_tenant == "refuse" and not policy.knows_tenant(tenant)
        if isinstance(output, Outage):
            is_refused = is_refused or rules.on_detector_outage == "closed"
        elif isinstance(output, ItemFailure):
            is_refused = is_refused or rules.on_failure == "dead_letter"
        if is_refused:
            return ShadowDecision(policy_version=self.revision, action=None, category=None)
        if isinstance(output, Assessment):
            decision = rules.decide(output, images)
        else:
            has_unread_parts = bool(answered.exchange.unread_parts)
            was_away = isinstance(output, Outage)
            decision = rules.decide_without_assessment(images, has_unread_parts=has_unread_parts, was_away=was_away)
        return ShadowDecision(policy_version=self.revision, action=decision.action, category=decision.category)
