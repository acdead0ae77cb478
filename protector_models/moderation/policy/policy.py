"""Policy: versioned data that turns an assessment into an action. Pure; no model, no clock, no I/O."""

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from protector_models.moderation.conversation import MAX_IDENTIFIER_CHARACTERS
from protector_models.moderation.outages import OnOutage
from protector_models.moderation.policy.image_rules import ImageRule
from protector_models.moderation.policy.needs import NeedRule
from protector_models.moderation.policy.rules import GENERAL_CATEGORIES, PolicyModel, Rule
from protector_models.moderation.policy.tenant_rules import (
    Margin,
    OmitShare,
    PromptJudging,
    RewriteMethods,
    TenantRules,
)
from protector_models.moderation.policy.texts import Language, PolicyText, SlotName
from protector_models.moderation.revisions import make_revision
from protector_models.moderation.verdict import Action

DEFAULT_TENANT = "default"
"""The tenant of events that name none; the rules for everybody are its rules, unless it has some of its own."""


_LATER_FIELDS = (
    "needs",
    "judge_prompt",
    "on_detector_outage",
    "on_detoxifier_outage",
    "on_mllm_outage",
    "omit_up_to_by_category",
    "deliver_partial",
    "release_margin",
    "suspect_margin",
    "on_second_opinion",
)


class TenantOverrides(PolicyModel):
    """What one tenant has different.

    Unset fields are the policy's own; methods and texts are merged by category, slots by name.
    """

    rules: Annotated[tuple[Rule, ...], Field(min_length=1)] | None = None
    rewrite_methods: dict[str, RewriteMethods] = Field(default_factory=dict)
    omit_up_to: OmitShare | None = None
    omit_up_to_by_category: dict[str, OmitShare] = Field(default_factory=dict)
    deliver_partial: bool | None = None
    release_margin: Margin | None = None
    suspect_margin: Margin | None = None
    on_second_opinion: Literal["refuse", "deliver"] | None = None
    omissions: dict[str, PolicyText] = Field(default_factory=dict)
    safe_completions: dict[str, PolicyText] = Field(default_factory=dict)
    needs: tuple[NeedRule, ...] | None = None
    slots: dict[SlotName, PolicyText] = Field(default_factory=dict)
    default_language: Language | None = None
    on_unread_text: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    on_unread_images: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    on_unread_parts: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    on_known_image: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    image_rules: tuple[ImageRule, ...] | None = None
    on_failure: Literal["dead_letter", Action.ALLOW, Action.REVIEW, Action.BLOCK] | None = None
    on_detector_outage: OnOutage | None = None
    on_detoxifier_outage: OnOutage | None = None
    on_mllm_outage: OnOutage | None = None
    deliver_under_review: bool | None = None
    max_rewrite_attempts: Annotated[int, Field(ge=1, le=10)] | None = None
    judge_prompt: PromptJudging | None = None
    shadow: bool | None = None


class Policy(TenantRules):
    """A policy file: rules for everybody, and what single tenants have different."""

    version: Annotated[str, Field(min_length=1)]
    """Named in every verdict, with a digest of all the rest (`revision`). Change it with every change of the file."""
    tenants: dict[str, TenantOverrides] = Field(default_factory=dict)
    """By name, to the letter: "Kids" and "kids " are not "kids". A name that no event can have is refused."""
    on_unknown_tenant: Literal["default_rules", "refuse"] = "default_rules"
    """What becomes of an event of a tenant that is not among `tenants`, where there are any: it has the rules for
    everybody, or is refused, and ends as a failure. Both are counted. An event that names no tenant is "default", which
    is always known. "refuse" is refused where `tenants` names none: it would refuse nobody."""

    @model_validator(mode="after")
    def _require_possible_tenants(self) -> Self:
        for tenant in self.tenants:
            if not 1 <= len(tenant) <= MAX_IDENTIFIER_CHARACTERS:
                raise ValueError(
                    f"tenants: expected names of 1 to {MAX_IDENTIFIER_CHARACTERS} characters, got one of {len(tenant)}"
                )
        if self.on_unknown_tenant == "refuse" and not self.tenants:
            raise ValueError("on_unknown_tenant: expected 'default_rules' where tenants names none, got 'refuse'")
        return self

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

    @property
    def revision(self) -> str:
        """What verdicts, dead letters and reports name the policy by: "version@digest".

        The digest is of all that the policy says, defaults that were left unsaid among it, whatever the order of its
        keys: 12 hexadecimal characters. Two policies under one version that differ in anything have two revisions.
        """
        content = self.model_dump(mode="json")
        # Of fields that came later a default says nothing, so that the policies that are in use keep their revisions.
        for name in _LATER_FIELDS:
            if content[name] in (TenantRules.model_fields[name].get_default(call_default_factory=True), []):
                del content[name]
            for overrides in content["tenants"].values():
                if overrides[name] in (None, {}):
                    del overrides[name]
        return make_revision(self.version, content)

    @cached_property
    def _rules_of_tenants(self) -> Mapping[str, TenantRules]:
        return {tenant: _with_overrides(self, overrides) for tenant, overrides in self.tenants.items()}

    def unknown_categories(self, known: Collection[str]) -> set[str]:
        """Return the categories that rules look at and that are not among those a detector knows.

        A rule over such a category would never apply.
        """
        return {rule.category for rules in self._every_rules() for rule in rules.rules} - {*GENERAL_CATEGORIES, *known}

    def partial_rules(self) -> list[str]:
        """Return where rules stand of which none looks at harm of no category: it is then allowed, however sure."""
        own = {f"tenants.{tenant}.rules": overrides.rules for tenant, overrides in self.tenants.items()}
        every = {"rules": self.rules, **own}
        return [
            place
            for place, rules in every.items()
            if rules is not None and GENERAL_CATEGORIES.isdisjoint(rule.category for rule in rules)
        ]

    def unknown_image_categories(self, known: Collection[str]) -> set[str]:
        """Return the categories that rules over images look at and that the image classifier does not know."""
        return {rule.category for rules in self._every_rules() for rule in rules.image_rules}.difference(known)

    def _every_rules(self) -> list[TenantRules]:
        return [self, *self._rules_of_tenants.values()]

    def completions_for_needs(self) -> set[str]:
        """Return the texts that somebody's needs choose, by their names in `safe_completions`."""
        return {rule.completion for rules in self._every_rules() for rule in rules.needs}

    def looks_at_needs(self) -> bool:
        """Tell whether what a person needs matters to somebody."""
        return any(rules.needs for rules in self._every_rules())

    def judges_prompts(self) -> bool:
        """Tell whether the requests of some tenant are judged."""
        return any(rules.judge_prompt != "skip" for rules in self._every_rules())

    def knows_tenant(self, tenant: str) -> bool:
        """Tell whether a tenant is one of the policy's; to a policy that names none, none is unknown."""
        return not self.tenants or tenant in self.tenants or tenant == DEFAULT_TENANT

    def goes_on_without_models(self) -> bool:
        """Tell whether anybody goes on while some model is away."""
        return any(
            "open" in {rules.on_detector_outage, rules.on_detoxifier_outage, rules.on_mllm_outage}
            for rules in self._every_rules()
        )

    def in_shadow(self) -> Self:
        """Return the policy with everybody in shadow."""
        tenants = {name: overrides.model_copy(update={"shadow": True}) for name, overrides in self.tenants.items()}
        return type(self).model_validate({**dict(self), "shadow": True, "tenants": tenants})

    def for_tenant(self, tenant: str) -> TenantRules:
        """Return the rules of a tenant; a tenant that the policy does not name has the rules for everybody."""
        return self._rules_of_tenants.get(tenant, self)


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
