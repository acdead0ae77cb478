"""A second policy that decides beside the one in force, by the same assessments, and changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from protector_models.moderation.answer_stage import Answered
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.outages import Outage
from protector_models.moderation.policy.needs import decide_for_person, may_matter
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.verdict import ShadowDecision


@dataclass(frozen=True, slots=True)
class ShadowPolicy:
    """A policy in shadow."""

    policy: Policy
    revision: str

    def must_know_needs(self, tenant: str, answered: Answered, output: Assessment) -> bool:
        """Tell whether the policy's decision on a response may depend on what the person needs."""
        rules = self.policy.for_tenant(tenant)
        return may_matter(rules.needs, rules.decide(output, answered.images.findings), output)

    def decide(
        self,
        tenant: str,
        answered: Answered,
        output: Assessment | ItemFailure,
        needs: Mapping[str, float] = MappingProxyType({}),
    ) -> ShadowDecision:
        """Return what the policy says of a response that was assessed, or that the detector failed on.

        Args:
            tenant: whose rules count.
            answered: the response.
            output: what the detector made of it.
            needs: of the person, by name, as far as they are known.
        """
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
            decision = decide_for_person(rules.needs, rules.decide(output, images), output, needs)
        else:
            has_unread_parts = bool(answered.exchange.unread_parts)
            was_away = isinstance(output, Outage)
            decision = rules.decide_without_assessment(images, has_unread_parts=has_unread_parts, was_away=was_away)
        return ShadowDecision(policy_version=self.revision, action=decision.action, category=decision.category)
