"""A policy turns an assessment into an action: data in, data out."""

import pickle
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protector_models.moderation.image_rules import ImageRule
from protector_models.moderation.policy import Decision, Policy, Rule, TenantOverrides
from protector_models.moderation.verdict import Action, Assessment, ImageFinding, RewriteMethod
from tests.builders import SAFE_TEXT, assessment, policy, rule

RULE = {"threshold": 0.5, "action": "rewrite"}
SEVERITY = [Action.ALLOW, Action.REWRITE, Action.REVIEW, Action.BLOCK]

scores = st.floats(0, 1)
rules = st.builds(
    rule,
    scores,
    st.sampled_from([Action.REWRITE, Action.REVIEW, Action.BLOCK]),
    category=st.sampled_from(["any", "hate", "weapons"]),
)
assessments = st.builds(
    assessment,
    scores,
    categories=st.dictionaries(st.sampled_from(["hate", "weapons", "other"]), scores),
    characters_unread=st.sampled_from([0, 1]),
    images_unread=st.sampled_from([0, 2]),
)


def test_a_score_below_every_threshold_is_allowed() -> None:
    assert policy().decide(assessment(0.4999)) == Decision(action=Action.ALLOW, found=Action.ALLOW, category=None)


def test_a_score_on_the_threshold_is_acted_on() -> None:
    assert policy().decide(assessment(0.5)).action is Action.REWRITE


@given(st.lists(rules, min_size=1, max_size=5), assessments)
def test_the_most_severe_action_that_applies_wins_whatever_the_order(drawn: list[Rule], score: object) -> None:
    forwards, backwards = policy(rules=drawn), policy(rules=drawn[::-1])
    assert isinstance(score, type(assessment()))
    asked_for = [
        one.action
        for one in drawn
        if (score.harmfulness if one.category == "any" else score.categories.get(one.category, 0)) >= one.threshold
    ]
    if not score.coverage.is_complete():
        asked_for.append(Action.REVIEW)
    assert forwards.decide(score).action is max([Action.ALLOW, *asked_for], key=SEVERITY.index)
    assert backwards.decide(score).action is forwards.decide(score).action


def test_a_rule_of_a_category_looks_at_that_category_alone() -> None:
    rules = policy(rules=[rule(0.5, Action.BLOCK, category="weapons")])
    assert rules.decide(assessment(0.9, categories={"hate": 0.9})).action is Action.ALLOW
    decision = rules.decide(assessment(0.9, categories={"hate": 0.9, "weapons": 0.6}))
    assert decision == Decision(action=Action.BLOCK, found=Action.BLOCK, category="weapons", withheld=True)


def test_a_rule_of_any_category_names_the_highest_one() -> None:
    assert policy().decide(assessment(0.9, categories={"b": 0.7, "a": 0.7, "c": 0.1})).category == "a"
    assert policy().decide(assessment(0.9)).category is None


def test_the_category_is_that_of_the_most_severe_rule() -> None:
    rules = policy(rules=[rule(0.5, category="hate"), rule(0.5, Action.BLOCK, category="weapons")])
    assert rules.decide(assessment(0.9, categories={"hate": 0.9, "weapons": 0.6})).category == "weapons"


def test_of_equally_severe_rules_one_that_names_a_category_wins_over_any_wherever_it_stands() -> None:
    drawn = [rule(0.5), rule(0.2, category="self_harm"), rule(0.2, category="hate")]
    score = assessment(0.9, categories={"unsafe_advice": 0.8, "self_harm": 0.3, "hate": 0.4})
    assert policy(rules=drawn).decide(score).category == "self_harm"
    assert policy(rules=[drawn[1], drawn[0]]).decide(score).category == "self_harm"
    assert policy(rules=[*drawn[2:], *drawn[:2]]).decide(score).category == "hate"


@given(st.lists(rules, min_size=1, max_size=5), assessments)
def test_only_rules_that_ask_for_the_action_name_the_category_and_named_ones_come_first(
    drawn: list[Rule], score: Assessment
) -> None:
    decision = policy(rules=drawn).decide(score)
    named = [
        one.category
        for one in drawn
        if one.action is decision.found
        and one.category != "any"
        and score.categories.get(one.category, 0) >= one.threshold
    ]
    by_any = None if decision.found is Action.ALLOW else score.top_category()
    assert decision.category == (named[0] if named else by_any)


def test_a_more_severe_rule_of_any_category_is_not_outdone_by_a_milder_one_that_names_a_category() -> None:
    rules = policy(rules=[rule(0.2, category="self_harm"), rule(0.5, Action.BLOCK)])
    score = assessment(0.9, categories={"unsafe_advice": 0.8, "self_harm": 0.3})
    assert rules.decide(score) == Decision(
        action=Action.BLOCK, found=Action.BLOCK, category="unsafe_advice", withheld=True
    )


@pytest.mark.parametrize("action", [Action.ALLOW, Action.REVIEW, Action.BLOCK])
def test_unread_text_is_the_least_that_is_done(action: Action) -> None:
    rules = policy(on_unread_text=action)
    assert rules.decide(assessment(0.1, characters_unread=1)).action is action
    assert rules.decide(assessment(0.1, images_unread=1)).action is Action.REVIEW
    assert rules.decide(assessment(0.1)).action is Action.ALLOW


@pytest.mark.parametrize("action", [Action.ALLOW, Action.REVIEW, Action.BLOCK])
def test_unread_images_are_the_least_that_is_done(action: Action) -> None:
    rules = policy(on_unread_images=action)
    assert rules.decide(assessment(0.1, images_unread=1)).action is action
    assert rules.decide(assessment(0.1, characters_unread=1)).action is Action.REVIEW


def _image(**fields: object) -> ImageFinding:
    return ImageFinding.model_validate({"status": "read", **fields})


@pytest.mark.parametrize("action", [Action.ALLOW, Action.REVIEW, Action.BLOCK])
def test_a_known_image_is_the_least_that_is_done(action: Action) -> None:
    rules = policy(on_known_image=action)
    known = _image(known_as="cat")
    assert rules.decide(assessment(0.1), [_image(), known]).action is action
    assert rules.decide(assessment(0.1), [_image()]).action is Action.ALLOW
    rewritten = rules.decide(assessment(0.9, categories={"hate": 0.9}), [known])
    assert rewritten == Decision(
        action=max(action, Action.REWRITE, key=SEVERITY.index),
        found=max(action, Action.REWRITE, key=SEVERITY.index),
        category="hate",
        withheld=True,
    )


@pytest.mark.parametrize(
    ("scores", "action", "category"),
    [
        ({"weapons": 0.5, "gore": 0.5}, Action.BLOCK, "gore"),
        ({"weapons": 0.5, "gore": 0.49}, Action.REVIEW, "weapons"),
        ({"weapons": 0.49, "other": 1.0}, Action.REWRITE, "hate"),
    ],
)
def test_rules_over_images_count_where_they_are_more_severe(
    scores: dict[str, float], action: Action, category: str
) -> None:
    weapons = ImageRule(category="weapons", threshold=0.5, action=Action.REVIEW)
    gore = ImageRule(category="gore", threshold=0.5, action=Action.BLOCK)
    rules = policy(image_rules=[weapons, gore])
    decision = rules.decide(assessment(0.9, categories={"hate": 0.9}), [_image(), _image(categories=scores)])
    assert decision == Decision(action=action, found=action, category=category, withheld=True)


@pytest.mark.parametrize("rewrite", [{"action": "rewrite"}, {"action": "allow"}, {"category": ""}, {"threshold": "1"}])
def test_an_image_can_only_be_reviewed_or_blocked(rewrite: dict[str, str]) -> None:
    fields = {"category": "gore", "threshold": 0.5, "action": "block", **rewrite}
    with pytest.raises(ValidationError, match=rf"image_rules.0.{next(iter(rewrite))}"):
        policy(image_rules=[fields])


def test_an_image_that_was_not_read_counts_also_where_the_detector_does_not_say_so() -> None:
    lost = _image(status="unread", reason="FetchFailed")
    assert policy().decide(assessment(0.1), [lost]).action is Action.REVIEW
    assert policy().decide(assessment(0.1), [lost]).found is Action.ALLOW


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


def test_what_was_not_read_never_makes_an_action_milder() -> None:
    rules = policy(rules=[rule(0.5, Action.BLOCK)])
    decision = rules.decide(assessment(0.9, categories={"hate": 0.9}, characters_unread=1, images_unread=1))
    assert decision == Decision(action=Action.BLOCK, found=Action.BLOCK, category="hate", withheld=True)


def test_a_category_without_a_text_of_its_own_gets_the_default() -> None:
    rules = policy(safe_completions={"hate": "Let us speak kindly."})
    assert rules.safe_completion("hate") == "Let us speak kindly."
    assert rules.safe_completion("weapons") == SAFE_TEXT
    assert rules.safe_completion(None) == SAFE_TEXT


def test_a_policy_without_a_default_text_is_refused_and_told_so() -> None:
    with pytest.raises(ValidationError, match=r"safe_completions: expected one named 'default', got \['hate'\]"):
        Policy.model_validate(
            {"version": "1", "rules": [{"threshold": 0.5, "action": "rewrite"}], "safe_completions": {"hate": "No."}}
        )


EDIT, OMIT, GENERATE, COMPLETE = RewriteMethod


def test_a_policy_that_says_nothing_of_methods_keeps_nothing_of_a_harmful_response() -> None:
    old = Policy.model_validate({"version": "1", "rules": [RULE], "safe_completions": {"default": "No."}})
    assert old.methods("hate") == old.methods(None) == (COMPLETE,)


def test_a_category_has_its_own_methods_or_the_default_ones() -> None:
    rules = policy(rewrite_methods={"default": ["generate", "complete"], "self_harm": ["complete"]})
    assert rules.methods("self_harm") == (COMPLETE,)
    assert rules.methods("hate") == rules.methods(None) == (GENERATE, COMPLETE)
    assert rules.where_method_stands(COMPLETE) == ["default", "self_harm"]
    assert rules.where_method_stands(GENERATE) == ["default"]
    assert rules.where_method_stands(EDIT) == []


def test_texts_are_given_in_a_language_with_their_slots_filled_in() -> None:
    rules = policy(
        safe_completions={"default": "Ask {helper}!", "hate": {"en": "Be kind.", "de": "Sei lieb, {helper}."}},
        omissions={"default": {"en": "(Gone.)", "de": "(Weg.)"}, "hate": "({helper})"},
        slots={"helper": {"en": "a friend", "fr": "un ami"}},
    )
    assert rules.safe_completion("hate", "de") == "Sei lieb, a friend."
    assert rules.safe_completion("hate", "fr") == rules.safe_completion("hate") == "Be kind."
    assert rules.safe_completion(None, "fr") == "Ask un ami!"
    assert (rules.omission("hate", "fr"), rules.omission("violence", "de")) == ("(un ami)", "(Weg.)")


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
