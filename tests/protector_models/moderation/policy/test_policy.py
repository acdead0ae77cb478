"""A policy: rules for everybody, what tenants have different, what it refuses, and its revision."""

import pickle
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from protector_models.moderation.policy.image_rules import ImageRule
from protector_models.moderation.policy.policy import Policy, TenantOverrides
from protector_models.moderation.verdict import Action, RewriteMethod
from tests.builders import assessment, policy, rule

RULE = {"threshold": 0.5, "action": "rewrite"}
EDIT, OMIT, GENERATE, COMPLETE = RewriteMethod


def test_a_tenant_may_have_unread_parts_decided_otherwise() -> None:
    rules = policy(tenants={"radio": TenantOverrides(on_unread_parts=Action.ALLOW)})
    assert rules.for_tenant("radio").decide(assessment(0.1, parts_unread=1)).action is Action.ALLOW
    assert rules.for_tenant("school").decide(assessment(0.1, parts_unread=1)).action is Action.REVIEW


def test_rules_over_images_of_tenants_stand_in_place_of_those_for_everybody() -> None:
    gore = ImageRule(category="gore", threshold=0.5, action=Action.BLOCK)
    weapons = ImageRule(category="weapons", threshold=0.5, action=Action.REVIEW)
    rules = policy(
        image_rules=[gore],
        tenants={"own": TenantOverrides(image_rules=(weapons,)), "none": TenantOverrides(image_rules=())},
    )
    assert rules.for_tenant("own").image_rules == (weapons,)
    assert rules.for_tenant("none").image_rules == ()
    assert rules.for_tenant("other").image_rules == (gore,)
    assert rules.unknown_image_categories(["gore"]) == {"weapons"}


def test_a_tenant_overrides_single_methods_texts_and_slots() -> None:
    rules = policy(
        rewrite_methods={"default": ["edit", "complete"], "hate": ["complete"]},
        safe_completions={"default": "Call {line}."},
        slots={"line": "the crisis line"},
        tenants={
            "acme": TenantOverrides(
                rewrite_methods={"default": (OMIT, COMPLETE)},
                omissions={"default": "({line})"},
                slots={"line": "0800"},
                omit_up_to=0.2,
            )
        },
    )
    acme = rules.for_tenant("acme")
    assert (acme.methods("violence"), acme.methods("hate"), acme.omit_up_to) == ((OMIT, COMPLETE), (COMPLETE,), 0.2)
    assert (acme.safe_completion(None), acme.omission(None)) == ("Call 0800.", "(0800)")
    assert rules.safe_completion(None) == "Call the crisis line."


def test_a_slot_may_be_for_everybodys_texts_or_for_a_tenants() -> None:
    own_text = TenantOverrides(safe_completions={"default": "No."})
    asking = TenantOverrides(safe_completions={"default": "Call {office}."})
    rules = policy(
        safe_completions={"default": "Call {line}."},
        slots={"line": "0800", "office": "our office"},
        tenants={"quiet": own_text, "asking": asking},
    )
    texts = [rules.for_tenant(tenant).safe_completion(None) for tenant in ("anybody", "quiet", "asking")]
    assert texts == ["Call 0800.", "No.", "Call our office."]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"rewrite_methods": {"hate": ["complete"]}}, "rewrite_methods: expected one named 'default', got ['hate']"),
        (
            {"rewrite_methods": {"default": ["omit", "complete"]}},
            "omissions: expected one named 'default', got []",
        ),
        (
            {"safe_completions": {"hate": {"de": "Nein."}}},
            "safe_completions.hate: expected a text in the default language 'en', got ['de']",
        ),
        (
            {"safe_completions": {"hate": {"en": "No.", "de": "Ruf {lien} an."}}, "slots": {"line": "x"}},
            "safe_completions.hate.de: slot {lien}: expected one of slots: line",
        ),
        (
            {"omissions": {"default": "{ }"}},
            "omissions.default: braces: expected a slot such as {crisis_line}, got '{ }'",
        ),
        ({"slots": {"line": "0800"}}, "slots.line: expected a text with {line} in it, found none"),
        (
            {"tenants": {"acme": {"slots": {"line": "0800"}}}},
            "tenants.acme.slots.line: expected a text with {line} in it, found none",
        ),
        (
            {"safe_completions": {"default": "{line}"}, "slots": {"line": {"de": "0800"}}},
            "slots.line: expected a text in the default language 'en', got ['de']",
        ),
        (
            {"safe_completions": {"default": "{line}"}, "slots": {"line": "{line}"}},
            "slots.line: braces",
        ),
        (
            {"tenants": {"acme": {"default_language": "de"}}, "safe_completions": {"default": {"en": "No."}}},
            "tenants.acme: safe_completions.default: expected a text in the default language 'de'",
        ),
        (
            {"tenants": {"acme": {"rewrite_methods": {"hate": ["omit", "complete"]}}}},
            "tenants.acme: omissions: expected one named 'default'",
        ),
        ({"on_unknown_tenant": "refuse"}, "on_unknown_tenant: expected 'default_rules' where tenants names none"),
        ({"tenants": {"": {"shadow": True}}}, "tenants: expected names of 1 to 512 characters, got one of 0"),
        ({"tenants": {"x" * 513: {}}}, "tenants: expected names of 1 to 512 characters, got one of 513"),
    ],
)
def test_a_policy_whose_texts_or_methods_do_not_fit_together_is_refused_and_told_why(
    fields: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        Policy.model_validate(
            {
                "version": "1",
                "rules": [RULE],
                **fields,
                "safe_completions": {"default": "No.", **fields.get("safe_completions", {})},
            }
        )
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rewrite_methods", {"default": []}),
        ("rewrite_methods", {"default": ["edit"]}),
        ("rewrite_methods", {"default": ["complete", "edit"]}),
        ("rewrite_methods", {"default": ["edit", "edit", "complete"]}),
        ("rewrite_methods", {"default": ["complete", "complete"]}),
        ("rewrite_methods", {"default": ["delete", "complete"]}),
        ("omit_up_to", 0.0),
        ("omit_up_to", 1.5),
        ("omit_up_to", True),
        ("omissions", {"default": {}, "hate": ""}),
        ("safe_completions", {"default": {"english": "No."}}),
        ("slots", {"Crisis Line": "0800"}),
        ("default_language", "English"),
        ("rules", []),
        ("rules", [{"threshold": 1.5, "action": "block"}]),
        ("rules", [{"threshold": float("nan"), "action": "block"}]),
        ("rules", [{"threshold": 0.5, "action": "allow"}]),
        ("rules", [{"threshold": 0.5, "action": "delete"}]),
        ("rules", [{"threshold": 0.5, "action": "block", "treshold": 0.4}]),
        ("safe_completions", {"default": ""}),
        ("on_failure", "rewrite"),
        ("on_unread_text", "rewrite"),
        ("max_rewrite_attempts", 0),
        ("version", ""),
        ("no_such_field", True),
        ("tenants", {"acme": {"no_such_field": True}}),
    ],
)
def test_a_policy_with_a_bad_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as raised:
        policy(**{field: value})  # type: ignore[arg-type]  # wrong on purpose
    assert raised.value.errors()[0]["loc"][0] == field


def test_a_policy_may_be_written_in_plain_words() -> None:
    rules = Policy.model_validate(
        {
            "version": "1",
            "rules": [{"threshold": 0.5, "action": "block"}],
            "safe_completions": {"default": "No."},
            "on_failure": "review",
        }
    )
    assert rules.decide(assessment(0.9)).action is Action.BLOCK
    assert rules.on_failure is Action.REVIEW


def test_a_tenant_without_overrides_has_the_rules_for_everybody() -> None:
    rules = policy(tenants={"acme": TenantOverrides(shadow=True)})
    assert rules.for_tenant("somebody else") is rules


def test_a_tenant_has_its_own_values_and_everybodys_for_the_rest() -> None:
    rules = policy(
        safe_completions={"hate": "Let us speak kindly."},
        max_rewrite_attempts=5,
        tenants={
            "acme": TenantOverrides(
                rules=(rule(0.2, Action.BLOCK),), safe_completions={"default": "Ask Acme."}, shadow=True
            )
        },
    ).for_tenant("acme")
    assert rules.decide(assessment(0.3)).action is Action.BLOCK
    assert rules.safe_completion("weapons") == "Ask Acme."
    assert rules.safe_completion("hate") == "Let us speak kindly."
    assert rules.shadow
    assert rules.max_rewrite_attempts == 5
    assert rules.on_failure == "dead_letter"


@pytest.mark.parametrize("value", [False, True])
def test_a_tenant_may_switch_off_what_everybody_has_on(*, value: bool) -> None:
    rules = policy(
        shadow=not value,
        deliver_under_review=not value,
        tenants={"acme": TenantOverrides(shadow=value, deliver_under_review=value)},
    ).for_tenant("acme")
    assert (rules.shadow, rules.deliver_under_review) == (value, value)


@pytest.mark.parametrize("on_failure", ["dead_letter", Action.ALLOW, Action.REVIEW, Action.BLOCK])
def test_a_tenant_may_choose_what_follows_a_failure(
    on_failure: Literal["dead_letter", Action.ALLOW, Action.REVIEW, Action.BLOCK],
) -> None:
    rules = policy(on_failure=Action.BLOCK, tenants={"acme": TenantOverrides(on_failure=on_failure)})
    assert rules.for_tenant("acme").on_failure == on_failure


def test_a_policy_survives_the_way_to_another_process() -> None:
    rules = policy(tenants={"acme": TenantOverrides(shadow=True)})
    assert rules.for_tenant("acme").shadow
    copy = pickle.loads(pickle.dumps(rules))
    assert copy == rules
    assert copy.for_tenant("acme").shadow


def test_rules_over_categories_that_the_detector_does_not_know_are_found_in_all_tenants() -> None:
    policy = Policy.model_validate(
        {
            "version": "1",
            "rules": [{"category": "any", "threshold": 0.5, "action": "rewrite"}],
            "safe_completions": {"default": "No."},
            "tenants": {"a": {"rules": [{"category": "gossip", "threshold": 0.5, "action": "block"}]}},
        }
    )
    assert policy.unknown_categories(["hate"]) == {"gossip"}
    assert policy.unknown_categories(["gossip"]) == set()


def test_a_rule_over_unspecified_harm_may_be_written_whatever_the_detector_knows() -> None:
    assert policy(rules=[rule(category="unspecified")]).unknown_categories(["hate"]) == set()


@pytest.mark.parametrize("general", ["any", "unspecified"])
def test_rules_that_leave_harm_of_no_category_alone_are_named_in_all_tenants(general: str) -> None:
    whole = [rule(category="hate"), rule(category=general)]
    part = [rule(category="hate"), rule(category="violence")]
    tenants = {
        "whole": TenantOverrides(rules=tuple(whole)),
        "part": TenantOverrides(rules=tuple(part)),
        "as everybody": TenantOverrides(shadow=True),
    }
    assert policy(rules=whole, tenants=tenants).partial_rules() == ["tenants.part.rules"]
    assert policy(rules=part, tenants=tenants).partial_rules() == ["rules", "tenants.part.rules"]
    assert policy(rules=whole).partial_rules() == []


def test_a_policy_changed_under_its_version_has_another_revision() -> None:
    changes: list[dict[str, Any]] = [
        {"rules": [rule(0.5001)]},
        {"safe_completions": {"default": "Another text."}},
        {"safe_completions": {"hate": "Another text."}},
        {"on_unread_text": "allow"},
        {"shadow": True},
        {"tenants": {"kids": TenantOverrides(shadow=True)}},
        {"tenants": {"kids": TenantOverrides()}},
        {"version": "policy-2"},
    ]
    assert len({policy(**change).revision for change in [{}, *changes]}) == len(changes) + 1
    assert policy().revision.startswith("policy-1@")


def test_the_order_of_rules_is_content_and_that_of_keys_is_not() -> None:
    rules, texts = [rule(0.5, category="hate"), rule(0.6)], {"hate": "No hate.", "self_harm": "Take care."}
    turned = dict(reversed(texts.items()))
    assert policy(safe_completions=texts).revision == policy(safe_completions=turned).revision
    assert policy(rules=rules).revision != policy(rules=rules[::-1]).revision


def test_saying_a_default_makes_no_other_policy_and_reading_it_again_neither() -> None:
    said = policy(shadow=False, omit_up_to=0.5)
    assert said.revision == policy().revision
    assert Policy.model_validate_json(said.model_dump_json()).revision == said.revision
