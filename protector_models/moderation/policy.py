"""Policy: versioned data that turns an assessment into an action. Pure; no model, no clock, no I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from protector_models.moderation.image_rules import ImageRule, find_image_rule, has_known, has_unread
from protector_models.moderation.policy_texts import (
    Language,
    PolicyText,
    SlotName,
    fill_in,
    find_used_slots,
    require_usable_texts,
)
from protector_models.moderation.verdict import Action, Assessment, ImageFinding, RewriteMethod, Score

ANY_CATEGORY = "any"
"""A rule's category that stands for the overall harmfulness."""

DEFAULT = "default"
"""The key of what holds for categories that have no text, or no methods, of their own."""

_SEVERITY = {action: rank for rank, action in enumerate(Action)}


def _require_complete_at_the_end(methods: tuple[RewriteMethod, ...]) -> tuple[RewriteMethod, ...]:
    if len(set(methods)) < len(methods) or methods[-1:] != (RewriteMethod.COMPLETE,):
        named = [method.value for method in methods]
        raise ValueError(
            f"expected each method at most once and {RewriteMethod.COMPLETE.value!r} at the end, got {named}"
        )
    return methods


RewriteMethods = Annotated[tuple[RewriteMethod, ...], AfterValidator(_require_complete_at_the_end)]
"""Ways of rewriting in order of preference; the policy's own text is the last one, always."""


def _complete_only() -> dict[str, RewriteMethods]:
    return {DEFAULT: (RewriteMethod.COMPLETE,)}


OmitShare = Annotated[float, Field(strict=True, gt=0, le=1)]


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
    """What the rules say of one assessment and of the images beside it."""

    action: Action
    found: Action
    """What the rules and the list of known images alone ask for; `action` is more severe where something was not read,
    or where the detector failed."""
    category: str | None
    """The category to tell the reader of, and to choose a safe text by. None where the action is ALLOW."""
    withheld: bool = False
    """Whether some rule wants the response rewritten or blocked, also where another asks for more: such a response is
    not delivered, not even under review."""


class TenantRules(_PolicyModel):
    """Everything that may differ between tenants."""

    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    """Of the rules that apply, the most severe action wins: block, then review, then rewrite. Of equally severe ones a
    rule that names a category wins over "any", whichever score is higher; of several such the first."""
    rewrite_methods: dict[str, RewriteMethods] = Field(default_factory=_complete_only)
    """How responses are rewritten, by category, in order of preference; "default" must be there. Where nothing is said,
    nothing of a harmful response is kept."""
    omit_up_to: OmitShare = 0.5
    """`omit` applies where harmful sentences are at most this share of a response's characters."""
    omissions: dict[str, PolicyText] = Field(default_factory=dict)
    """What stands for sentences that were left out, by category; "default" must be there if `omit` is a method."""
    safe_completions: dict[str, PolicyText]
    """Texts delivered in place of a harmful response, by category; "default" must be there."""
    slots: dict[SlotName, PolicyText] = Field(default_factory=dict)
    """What `{name}` in any of those texts stands for, by name."""
    default_language: Language = "en"
    """The language of texts for people whose language is not known, or has no text of its own."""
    on_unread_text: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] = Action.REVIEW
    """The least that is done where some text was not read by the detector."""
    on_unread_images: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] = Action.REVIEW
    """The least that is done where some image was not read."""
    on_known_image: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] = Action.BLOCK
    """The least that is done where some image is on the list of known ones (`images.known`)."""
    image_rules: tuple[ImageRule, ...] = ()
    """What follows from the scores of an image classifier (`images.classifier`)."""
    on_failure: Literal["dead_letter", Action.ALLOW, Action.REVIEW, Action.BLOCK] = "dead_letter"
    """What follows where the detector failed on this one response. "allow" fails open and is counted."""
    deliver_under_review: bool = False
    """Whether a response is delivered while it waits for review. Never one that a rule wants rewritten or blocked."""
    max_rewrite_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """How many tries there may be before the safe completion; no category may have more methods. Each method is tried
    once; `generate`, where it is the last before `complete`, again until so many tries were made."""
    shadow: bool = False
    """Decide and report, but deliver every response unchanged. An event that ends as a failure has no verdict to report
    and stays a dead letter."""

    @model_validator(mode="after")
    def _require_defaults(self) -> Self:
        _require_default(self.rewrite_methods, "rewrite_methods")
        _require_default(self.safe_completions, "safe_completions")
        if self.where_method_stands(RewriteMethod.OMIT):
            _require_default(self.omissions, "omissions")
        _require_tries_for_all(self.rewrite_methods, self.max_rewrite_attempts)
        texts = {"safe_completions": self.safe_completions, "omissions": self.omissions}
        require_usable_texts(texts, self.slots, default_language=self.default_language)
        return self

    def decide(self, assessment: Assessment, images: Sequence[ImageFinding] = ()) -> Decision:
        """Return the most severe action that a rule, the images or the coverage ask for.

        Its category is that of the first of the rules that ask for the action and name one; where only rules of "any"
        ask for it, the category that scores highest. An image decides only what no text asks for as severely.
        """
        found = self._judge_text(assessment)
        if images:
            found = self._judge_images(images, found)
        action, coverage = found.action, assessment.coverage
        if coverage.characters_evaluated < coverage.characters_total:
            action = _more_severe(action, self.on_unread_text)
        if coverage.images_evaluated < coverage.images_total or has_unread(images):
            action = _more_severe(action, self.on_unread_images)
        return found if action is found.action else replace(found, action=action)

    def decide_without_assessment(self, images: Sequence[ImageFinding]) -> Decision:
        """Return what follows where the detector failed and the policy decides all the same (`on_failure`).

        What the images ask for is then still done.
        """
        # With "dead_letter" the decision is never used: the event ends as a failure.
        on_failure = Action.BLOCK if self.on_failure == "dead_letter" else self.on_failure
        found = self._judge_images(images, Decision(action=on_failure, found=on_failure, category=None))
        action = _more_severe(found.action, self.on_unread_images) if has_unread(images) else found.action
        return replace(found, action=action)

    def _judge_text(self, assessment: Assessment) -> Decision:
        applied: Rule | None = None
        withheld = False
        for rule in self.rules:
            if _score(assessment, rule.category) >= rule.threshold:
                withheld = withheld or rule.action is not Action.REVIEW
                if applied is None or _outdoes(rule, applied):
                    applied = rule
        action = Action.ALLOW if applied is None else applied.action
        category = None if applied is None else applied.category
        if category == ANY_CATEGORY:
            category = assessment.top_category()
        return Decision(action=action, found=action, category=category, withheld=withheld)

    def _judge_images(self, images: Sequence[ImageFinding], text: Decision) -> Decision:
        """Return what the images ask for where that is more severe than what the text does, else that."""
        decision = text
        rule = find_image_rule(images, self.image_rules)
        if rule is not None and _SEVERITY[rule.action] > _SEVERITY[decision.action]:
            decision = replace(text, action=rule.action, found=rule.action, category=rule.category)
        if has_known(images) and _SEVERITY[self.on_known_image] > _SEVERITY[decision.action]:
            decision = replace(decision, action=self.on_known_image, found=self.on_known_image)
        return decision

    def methods(self, category: str | None) -> tuple[RewriteMethod, ...]:
        """Return how to rewrite a response that is harmful in `category`, in order of preference."""
        return self.rewrite_methods.get(category or DEFAULT, self.rewrite_methods[DEFAULT])

    def where_method_stands(self, method: RewriteMethod) -> list[str]:
        """Return the categories whose methods have this one among them, sorted."""
        return sorted(category for category, methods in self.rewrite_methods.items() if method in methods)

    def safe_completion(self, category: str | None, language: str | None = None) -> str:
        """Return the text to deliver in place of a response that is harmful in `category`.

        Args:
            category: None is what has no category, and gets the default text.
            language: an ISO 639 code; None where it is not known.
        """
        return self._text(self.safe_completions, category, language)

    def omission(self, category: str | None, language: str | None = None) -> str:
        """Return the text that stands for sentences that were left out; arguments as in `safe_completion`."""
        return self._text(self.omissions, category, language)

    def used_slots(self) -> set[str]:
        """Return the slots that stand in some text."""
        return find_used_slots([*self.safe_completions.values(), *self.omissions.values()])

    def _text(self, texts: Mapping[str, PolicyText], category: str | None, language: str | None) -> str:
        text = texts.get(category or DEFAULT, texts[DEFAULT])
        return fill_in(text, language, self.slots, default_language=self.default_language)


class TenantOverrides(_PolicyModel):
    """What one tenant has different.

    Unset fields are the policy's own; methods and texts are merged by category, slots by name.
    """

    rules: Annotated[tuple[Rule, ...], Field(min_length=1)] | None = None
    rewrite_methods: dict[str, RewriteMethods] = Field(default_factory=dict)
    omit_up_to: OmitShare | None = None
    omissions: dict[str, PolicyText] = Field(default_factory=dict)
    safe_completions: dict[str, PolicyText] = Field(default_factory=dict)
    slots: dict[SlotName, PolicyText] = Field(default_factory=dict)
    default_language: Language | None = None
    on_unread_text: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    on_unread_images: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    on_known_image: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    image_rules: tuple[ImageRule, ...] | None = None
    on_failure: Literal["dead_letter", Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    deliver_under_review: bool | None = None
    max_rewrite_attempts: Annotated[int, Field(ge=1, le=10)] | None = None
    shadow: bool | None = None


class Policy(TenantRules):
    """A policy file: rules for everybody, and what single tenants have different."""

    version: Annotated[str, Field(min_length=1)]
    """Named in every verdict. Change it with every change of the file."""
    tenants: dict[str, TenantOverrides] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _require_usable_tenants(self) -> Self:
        used = self.used_slots()
        for tenant, overrides in self.tenants.items():
            try:
                rules = _with_overrides(self, overrides)
            except ValidationError as error:
                faults = "; ".join(detail["msg"].removeprefix("Value error, ") for detail in error.errors())
                raise ValueError(f"tenants.{tenant}: {faults}") from error
            _require_use(overrides.slots, rules.used_slots(), f"tenants.{tenant}.slots")
            used |= rules.used_slots()
        _require_use(self.slots, used, "slots")
        return self

    @cached_property
    def _rules_of_tenants(self) -> Mapping[str, TenantRules]:
        return {tenant: _with_overrides(self, overrides) for tenant, overrides in self.tenants.items()}

    def unknown_categories(self, known: Collection[str]) -> set[str]:
        """Return the categories that rules look at and that are not among those a detector knows.

        A rule over such a category would never apply.
        """
        return {rule.category for rules in self._every_rules() for rule in rules.rules} - {ANY_CATEGORY, *known}

    def unknown_image_categories(self, known: Collection[str]) -> set[str]:
        """Return the categories that rules over images look at and that the image classifier does not know."""
        return {rule.category for rules in self._every_rules() for rule in rules.image_rules}.difference(known)

    def _every_rules(self) -> list[TenantRules]:
        return [self, *self._rules_of_tenants.values()]

    def for_tenant(self, tenant: str) -> TenantRules:
        """Return the rules of a tenant; a tenant that the policy does not name has the rules for everybody."""
        return self._rules_of_tenants.get(tenant, self)


def _require_default(by_category: Mapping[str, object], field: str) -> None:
    if DEFAULT not in by_category:
        raise ValueError(f"{field}: expected one named {DEFAULT!r}, got {sorted(by_category)}")


def _require_tries_for_all(by_category: Mapping[str, tuple[RewriteMethod, ...]], max_attempts: int) -> None:
    for category, methods in by_category.items():
        *before_complete, _ = methods
        if unreached := before_complete[max_attempts:]:
            named = ", ".join(repr(method.value) for method in unreached)
            raise ValueError(
                f"rewrite_methods.{category}: {named} would never be tried: expected at most max_rewrite_attempts "
                f"({max_attempts}) methods before {RewriteMethod.COMPLETE.value!r}, got {len(before_complete)}"
            )


def _require_use(slots: Mapping[str, object], used: Collection[str], field: str) -> None:
    if unused := sorted(set(slots) - set(used)):
        raise ValueError(f"{field}.{unused[0]}: expected a text with {{{unused[0]}}} in it, found none")


def _with_overrides(policy: Policy, overrides: TenantOverrides) -> TenantRules:
    values = {name: getattr(policy, name) for name in TenantRules.model_fields}
    for name in TenantOverrides.model_fields:
        own = getattr(overrides, name)
        if isinstance(own, dict):
            values[name] = {**values[name], **own}
        elif own is not None:
            values[name] = own
    return TenantRules.model_validate(values)


def _score(assessment: Assessment, category: str) -> float:
    """Return the score a rule looks at; a category that the detector does not know scores 0."""
    if category == ANY_CATEGORY:
        return assessment.harmfulness
    return assessment.categories.get(category, 0.0)


def _outdoes(rule: Rule, other: Rule) -> bool:
    """Tell whether a rule wins over one that stands before it, both of them applying."""
    if rule.action is not other.action:
        return _SEVERITY[rule.action] > _SEVERITY[other.action]
    return other.category == ANY_CATEGORY and rule.category != ANY_CATEGORY


def _more_severe(left: Action, right: Action) -> Action:
    return left if _SEVERITY[left] >= _SEVERITY[right] else right
