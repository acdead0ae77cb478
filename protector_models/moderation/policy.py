"""Policy: versioned data that turns an assessment into an action. Pure; no model, no clock, no I/O."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from protector_models.moderation.verdict import Action, Assessment, Score

ANY_CATEGORY = "any"
"""A rule's category that stands for the overall harmfulness."""

DEFAULT_TEXT = "default"
"""The key of the safe completion used where a category has none of its own."""

_SEVERITY = {action: rank for rank, action in enumerate(Action)}

SafeText = Annotated[str, Field(min_length=1)]


class _PolicyModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(_PolicyModel):
    """Take an action from a score on."""

    category: str = ANY_CATEGORY
    """A category of the detector, or "any" for the overall harmfulness."""
    threshold: Annotated[Score, Field(strict=True)]
    """The rule applies where the score is at least this."""
    action: Literal[Action.REWRITE, Action.REVIEW, Action.BLOCK]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the rules say of one assessment."""

    action: Action
    found: Action
    """What the rules alone ask for; `action` is more severe where something was not read."""
    category: str | None
    """The category to tell the reader of, and to choose a safe text by. None where the action is ALLOW."""


class TenantRules(_PolicyModel):
    """Everything that may differ between tenants."""

    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    """Of the rules that apply, the most severe action wins: block, then review, then rewrite."""
    safe_completions: dict[str, SafeText]
    """Texts delivered in place of a harmful response, by category; "default" must be there."""
    on_unread_text: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] = Action.REVIEW
    """The least that is done where some text was not read by the detector."""
    on_unread_images: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] = Action.REVIEW
    """The least that is done where some image was not looked at by the detector."""
    on_failure: Literal["dead_letter", Action.ALLOW, Action.REVIEW, Action.BLOCK] = "dead_letter"
    """What follows where the detector failed on this one response. "allow" fails open and is counted."""
    deliver_under_review: bool = False
    """Whether a response is delivered while it waits for review. Never one that a rule wants rewritten or blocked."""
    max_rewrite_attempts: Annotated[int, Field(ge=1, le=10)] = 2
    """How often the detoxifier may try before the safe completion is delivered."""
    shadow: bool = False
    """Decide and report, but deliver every response unchanged. An event that ends as a failure has no verdict to report
    and stays a dead letter."""

    @model_validator(mode="after")
    def _require_default_text(self) -> Self:
        if DEFAULT_TEXT not in self.safe_completions:
            raise ValueError(
                f"safe_completions: expected a text named {DEFAULT_TEXT!r}, got {sorted(self.safe_completions)}"
            )
        return self

    def decide(self, assessment: Assessment) -> Decision:
        """Return the most severe action that a rule or the coverage asks for."""
        action = Action.ALLOW
        category: str | None = None
        for rule in self.rules:
            if _SEVERITY[rule.action] > _SEVERITY[action] and _score(assessment, rule.category) >= rule.threshold:
                action = rule.action
                category = assessment.top_category() if rule.category == ANY_CATEGORY else rule.category
        found = action
        coverage = assessment.coverage
        if coverage.characters_evaluated < coverage.characters_total:
            action = _more_severe(action, self.on_unread_text)
        if coverage.images_evaluated < coverage.images_total:
            action = _more_severe(action, self.on_unread_images)
        return Decision(action=action, found=found, category=category)

    def safe_completion(self, category: str | None) -> str:
        """Return the text to deliver in place of a response that is harmful in `category`."""
        if category is not None and category in self.safe_completions:
            return self.safe_completions[category]
        return self.safe_completions[DEFAULT_TEXT]


class TenantOverrides(_PolicyModel):
    """What one tenant has different. Unset fields are the policy's own; safe completions are merged by category."""

    rules: Annotated[tuple[Rule, ...], Field(min_length=1)] | None = None
    safe_completions: dict[str, SafeText] = Field(default_factory=dict)
    on_unread_text: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    on_unread_images: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    on_failure: Literal["dead_letter", Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    deliver_under_review: bool | None = None
    max_rewrite_attempts: Annotated[int, Field(ge=1, le=10)] | None = None
    shadow: bool | None = None


class Policy(TenantRules):
    """A policy file: rules for everybody, and what single tenants have different."""

    version: Annotated[str, Field(min_length=1)]
    """Named in every verdict. Change it with every change of the file."""
    tenants: dict[str, TenantOverrides] = Field(default_factory=dict)

    @cached_property
    def _rules_of_tenants(self) -> Mapping[str, TenantRules]:
        shared = {name: getattr(self, name) for name in TenantRules.model_fields}
        return {tenant: _with_overrides(shared, overrides) for tenant, overrides in self.tenants.items()}

    def unknown_categories(self, known: Collection[str]) -> set[str]:
        """Return the categories that rules look at and that are not among those a detector knows.

        A rule over such a category would never apply.
        """
        every_rule = [*self.rules, *(rule for tenant in self._rules_of_tenants.values() for rule in tenant.rules)]
        return {rule.category for rule in every_rule} - {ANY_CATEGORY, *known}

    def for_tenant(self, tenant: str) -> TenantRules:
        """Return the rules of a tenant; a tenant that the policy does not name has the rules for everybody."""
        return self._rules_of_tenants.get(tenant, self)


def _with_overrides(shared: Mapping[str, object], overrides: TenantOverrides) -> TenantRules:
    own = {name: value for name in TenantOverrides.model_fields if (value := getattr(overrides, name)) is not None}
    texts = {**_texts(shared["safe_completions"]), **overrides.safe_completions}
    return TenantRules.model_validate({**shared, **own, "safe_completions": texts})


def _texts(value: object) -> Mapping[str, str]:
    assert isinstance(value, dict)
    return value


def _score(assessment: Assessment, category: str) -> float:
    """Return the score a rule looks at; a category that the detector does not know scores 0."""
    if category == ANY_CATEGORY:
        return assessment.harmfulness
    return assessment.categories.get(category, 0.0)


def _more_severe(left: Action, right: Action) -> Action:
    return left if _SEVERITY[left] >= _SEVERITY[right] else right
