"""Texts that somebody wants to see rewritten: through the Moderator, or straight through the edit model."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.one_turn import make_turn
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.policy.tenant_rules import DEFAULT, TenantRules
from protector_models.moderation.ports import Detoxifier, HarmDetector, Moderates, RewriteRequest, Span
from protector_models.moderation.release_check import why_not_released
from protector_models.moderation.verdict import Action, Failure, RewriteMethod
from protector_models.moderation.wire.halving import moderate_isolating


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What became of one text."""

    before: str
    after: str | None = None
    """What may be delivered, the text itself where nothing was to be changed; None: nothing may."""
    action: Action | None = None
    """None where the text could not be judged; `error` says why."""
    category: str | None = None
    method: RewriteMethod | None = None
    """How `after` was made; None where it is the text itself, or nothing."""
    refused_reason: str | None = None
    """Why the last try before `after`, or before giving up, was not released."""
    refused: str | None = None
    """What the edit model made where that was not released. The Moderator does not tell what it refused."""
    assessment: Assessment | None = None
    rewrite_assessment: Assessment | None = None
    """Of what was made: of `after`, or of `refused`."""
    shadow_action: Action | None = None
    """In shadow mode: the action that would have been taken."""
    error: str | None = None


def allow_only(policy: Policy, method: RewriteMethod) -> Policy:
    """Return a policy that knows one way of rewriting, for all categories and tenants, before its own texts.

    Raises:
        ConfigurationError: the policy has no texts for it.
    """
    values = {name: getattr(policy, name) for name in Policy.model_fields}
    values["rewrite_methods"] = {DEFAULT: tuple(dict.fromkeys((method, RewriteMethod.COMPLETE)))}
    values["tenants"] = {
        name: overrides.model_copy(update={"rewrite_methods": {}}) for name, overrides in policy.tenants.items()
    }
    try:
        return Policy.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(detail["msg"].removeprefix("Value error, ") for detail in error.errors())
        raise ConfigurationError(f"policy {policy.version} with {method.value!r} as its method: {faults}") from error


async def moderate_texts(moderator: Moderates, texts: Sequence[str], *, prompt: str, tenant: str) -> list[Rewritten]:
    """Pass each text through the whole path, as an answer to `prompt`; same length and order.

    Raises:
        DependencyError: a model is gone or late.
    """
    events = [
        make_turn(prompt, text, event_id=f"text-{number}", tenant=tenant) for number, text in enumerate(texts, start=1)
    ]
    outcomes = await moderate_isolating(moderator, events)
    return [
        Rewritten(before=text, error=f"{outcome.error}: {outcome.message}")
        if isinstance(outcome, Failure)
        else Rewritten(
            before=text,
            after=outcome.response,
            action=outcome.action,
            category=outcome.category,
            method=outcome.rewrite_method,
            refused_reason=outcome.rewrite_refused_reason,
            assessment=outcome.assessment,
            rewrite_assessment=outcome.rewrite_assessment,
            shadow_action=outcome.shadow_action,
        )
        for text, outcome in zip(texts, outcomes, strict=True)
    ]


async def edit_texts(
    detector: HarmDetector, detoxifier: Detoxifier, rules: TenantRules, texts: Sequence[str], *, prompt: str
) -> list[Rewritten]:
    """Let the edit model have each text, whatever the detector says of it; same length and order.

    What it made, the text itself where it changed nothing, is delivered if the rules allow it; otherwise nothing is,
    and the action is `REVIEW`.

    Raises:
        DependencyError: a model is gone or late.
    """
    exchanges = [Exchange(prompt=prompt, response=text) for text in texts]
    assessments = await detector.assess(exchanges)
    rewrites = await detoxifier.rewrite(
        [
            RewriteRequest(
                exchange=exchange,
                method=RewriteMethod.EDIT,
                spans=(Span(start=0, end=len(exchange.response)),) if exchange.response else (),
                category=None,
            )
            for exchange in exchanges
        ]
    )
    edited = [
        exchange if isinstance(rewrite, ItemFailure) else exchange.model_copy(update={"response": rewrite.text})
        for exchange, rewrite in zip(exchanges, rewrites, strict=True)
    ]
    reassessments = await detector.assess(edited)
    return [
        _judge_edit(
            rules,
            exchange.response,
            assessment,
            rewrite if isinstance(rewrite, ItemFailure) else rewrite.text,
            reassessment,
        )
        for exchange, assessment, rewrite, reassessment in zip(
            exchanges, assessments, rewrites, reassessments, strict=True
        )
    ]


def _judge_edit(
    rules: TenantRules,
    before: str,
    assessment: Assessment | ItemFailure,
    edited: str | ItemFailure,
    reassessment: Assessment | ItemFailure,
) -> Rewritten:
    if isinstance(assessment, ItemFailure):
        return Rewritten(before=before, error=f"{assessment.error}: {assessment.message}")
    category = rules.decide(assessment).category
    if isinstance(reassessment, ItemFailure):
        reason: str | None = reassessment.error
    else:
        reason = why_not_released(rules.decide(reassessment))
    if isinstance(edited, ItemFailure):
        return Rewritten(
            before=before,
            after=before if reason is None else None,
            action=Action.ALLOW if reason is None else Action.REVIEW,
            category=category,
            refused_reason=edited.error,
            assessment=assessment,
        )
    return Rewritten(
        before=before,
        after=edited if reason is None else None,
        action=Action.REWRITE if reason is None else Action.REVIEW,
        category=category,
        method=RewriteMethod.EDIT if reason is None else None,
        refused_reason=reason,
        refused=None if reason is None else edited,
        assessment=assessment,
        rewrite_assessment=reassessment if isinstance(reassessment, Assessment) else None,
    )
