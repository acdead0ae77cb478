"""From verdicts to OpenAI's results of moderation, with what else Weir says of them beside."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from protector_models.moderation.model_outputs import Coverage, Score
from protector_models.moderation.policy.rules import ANY_CATEGORY
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.revisions import name_all
from protector_models.moderation.verdict import (
    Action,
    EvaluationStatus,
    ImageFinding,
    ImageStatus,
    NeedsFinding,
    PromptFinding,
    ShadowDecision,
    Verdict,
    is_none,
)
from services.http.categories import OPENAI_CATEGORIES, categories_beside

InputType = Literal["text", "image"]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WeirResult(_Answer):
    """What Weir decided, and why."""

    action: Action
    """What the tenant's policy does with such a text; in shadow mode `allow`."""
    shadow_action: Action | None
    """In shadow mode: what it would do."""
    category: str | None
    """What the text was found harmful as; None where nothing was found."""
    harmfulness: Score | None
    """Of the whole; None where the detector failed and the policy says what follows."""
    coverage: Coverage | None
    """How much was read."""
    images: tuple[ImageFinding, ...]
    """What became of each image."""
    evaluation_status: EvaluationStatus
    policy_version: str
    model_revisions: dict[str, str]
    cached: bool
    prompt: Annotated[PromptFinding | None, Field(exclude_if=is_none)] = None
    """What was found in the request before it; absent where the policy does not ask for it, or there is none."""
    needs: Annotated[NeedsFinding | None, Field(exclude_if=is_none)] = None
    """What the person may need; absent where nothing could follow from it."""
    shadow_policy: Annotated[ShadowDecision | None, Field(exclude_if=is_none)] = None
    """What the shadow policy says; absent where none is configured."""


class ModerationResult(_Answer):
    """The result for one input, as OpenAI's clients read it."""

    flagged: bool
    """Whether the policy does anything but allow it, for whatever reason."""
    categories: dict[str, bool]
    """OpenAI's thirteen, then Weir's own and others of the detector."""
    category_scores: dict[str, Score]
    category_applied_input_types: dict[str, list[InputType]]
    """Empty where no detector looked for the category."""
    weir: WeirResult


class ModerationAnswer(_Answer):
    """The answer to a moderation call."""

    id: str
    model: str
    """The detector that judged, "name@revision"."""
    results: list[ModerationResult]


def answer_with(request_id: str, verdicts: Sequence[Verdict], rules: TenantRules, *, model: str) -> ModerationAnswer:
    """Return the answer to a moderation call.

    Args:
        request_id: its id.
        verdicts: of its inputs, in order, each decided in shadow.
        rules: of the tenant: where they are themselves in shadow, nothing is flagged.
        model: the detector, where no verdict names it.
    """
    named = [revision for verdict in verdicts if (revision := verdict.model_revisions.get("detector")) is not None]
    return ModerationAnswer(
        id=f"modr-{request_id}",
        model=name_all(named) or model,
        results=[to_result(verdict, rules) for verdict in verdicts],
    )


def to_result(verdict: Verdict, rules: TenantRules) -> ModerationResult:
    """Return the result that a verdict in shadow is to a tenant with these rules."""
    decided = verdict.shadow_action or verdict.action
    action = Action.ALLOW if rules.shadow else decided
    scores = {} if verdict.assessment is None else verdict.assessment.categories
    ours = {name: category.ours for name, category in OPENAI_CATEGORIES.items()}
    ours |= {name: name for name in categories_beside(scores)}
    # A rule over another category than the detector's, as over one of an image classifier, flags no category here.
    found = set() if action is Action.ALLOW else _flagged(verdict, scores, rules)
    return ModerationResult(
        flagged=action is not Action.ALLOW,
        categories={name: category is not None and category in found for name, category in ours.items()},
        category_scores={name: scores.get(category or "", 0.0) for name, category in ours.items()},
        category_applied_input_types={
            name: _input_types(name, verdict) if category in scores else [] for name, category in ours.items()
        },
        weir=WeirResult(
            action=action,
            shadow_action=decided if rules.shadow else None,
            category=verdict.category,
            harmfulness=None if verdict.assessment is None else verdict.assessment.harmfulness,
            coverage=None if verdict.assessment is None else verdict.assessment.coverage,
            images=verdict.images,
            evaluation_status=verdict.evaluation_status,
            policy_version=verdict.policy_version,
            model_revisions=verdict.model_revisions,
            cached=verdict.cached,
            prompt=verdict.prompt,
            needs=verdict.needs,
            shadow_policy=verdict.shadow_policy,
        ),
    )


def _flagged(verdict: Verdict, scores: Mapping[str, float], rules: TenantRules) -> set[str]:
    """Return the categories whose scores reach a rule over them, or the one over all, and the verdict's own."""
    return {
        category
        for category, score in scores.items()
        if category == verdict.category
        or any(score >= rule.threshold for rule in rules.rules if rule.category in {category, ANY_CATEGORY})
    }


def _input_types(name: str, verdict: Verdict) -> list[InputType]:
    coverage = None if verdict.assessment is None else verdict.assessment.coverage
    types: list[InputType] = []
    if coverage is not None and coverage.characters_evaluated > 0:
        types.append("text")
    category = OPENAI_CATEGORIES.get(name)
    was_read = any(image.status is ImageStatus.READ for image in verdict.images)
    if was_read and (category is None or category.takes_images):
        types.append("image")
    return types
