"""Requests: the last user turn, judged as a text by itself, as a policy's `judge_prompt` says."""

from dataclasses import dataclass

from protector_models.moderation.cached_outputs import ObtainedOutput
from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.image_stage import EventImages
from protector_models.moderation.messages.blanks import is_blank
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.outages import Outage
from protector_models.moderation.policy.rules import Decision
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import Action, PromptFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPrompt:
    """A request with its assessment and what the rules say of it."""

    asked: str
    """The detector that was asked, as far as known: "name@revision"."""
    assessed: ObtainedOutput[Assessment]
    decision: Decision
    is_undecided: bool
    """The detector failed on it, and the rules have no action for that."""
    is_enforced: bool
    """It was kept from the MLLM: there is no response."""

    def finding(self) -> PromptFinding:
        """Return what the verdict says of it."""
        output = self.assessed.output
        assessment = None if isinstance(output, ItemFailure) else output
        return PromptFinding(
            action=None if self.is_undecided else self.decision.action,
            category=self.decision.category,
            assessment=assessment,
            status=StageStatus.FAILED if assessment is None else assessment.status(),
            enforced=self.is_enforced,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTask:
    """A request that is to be judged."""

    exchange: Exchange
    """What a detector reads: the request, and what stands in the images, as if it were a response."""
    images: EventImages
    rules: TenantRules

    def judge(self, assessed: ObtainedOutput[Assessment], *, asked: str, may_enforce: bool) -> JudgedPrompt:
        """Return what the rules say of the request, also where the detector failed on it.

        Args:
            assessed: what the detector made of it.
            asked: the detector, as far as known.
            may_enforce: whether an MLLM is about to be asked.
        """
        rules, output = self.rules, assessed.output
        if isinstance(output, Assessment):
            decision = rules.decide(output, self.images.findings)
        else:
            unread = bool(self.exchange.unread_parts)
            decision = rules.decide_without_assessment(
                self.images.findings, has_unread_parts=unread, was_away=isinstance(output, Outage)
            )
        enforces = may_enforce and rules.judge_prompt == "enforce" and not rules.shadow
        return JudgedPrompt(
            asked=asked,
            assessed=assessed,
            decision=decision,
            is_undecided=isinstance(output, ItemFailure)
            and not isinstance(output, Outage)
            and rules.on_failure == "dead_letter",
            is_enforced=enforces and decision.action is not Action.ALLOW,
        )


def find_prompt(event: ConversationEvent, images: EventImages, rules: TenantRules) -> PromptTask | None:
    """Return the request to judge; None where the rules ask for none to be judged, or nobody asked anything."""
    if rules.judge_prompt == "skip":
        return None
    seen = event.exchange("", images.seen)
    said = Exchange(prompt="", images=seen.images, response=seen.prompt, unread_parts=seen.unread_parts)
    exchange = said.with_image_texts_said()
    if is_blank(exchange.response) and not exchange.images and not exchange.unread_parts:
        return None
    return PromptTask(exchange=exchange, images=images, rules=rules)
