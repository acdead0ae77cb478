"""A tenant's rules: what is done about an assessment and about what was not read, and with which texts."""

import pytest
from pydantic import ValidationError

from protector_models.moderation.policy.image_rules import ImageRule
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.policy.rules import Decision
from protector_models.moderation.verdict import Action, ImageFinding, RewriteMethod
from tests.builders import SAFE_TEXT, assessment, policy, rule

RULE = {"threshold": 0.5, "action": "rewrite"}
SEVERITY = [Action.ALLOW, Action.REWRITE, Action.REVIEW, Action.BLOCK]


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


@pytest.mark.parametrize("action", [Action.ALLOW, Action.REVIEW, Action.BLOCK])
def test_unread_parts_are_the_least_that_is_done(action: Action) -> None:
    rules = policy(on_unread_parts=action)
    assert rules.decide(assessment(0.1, parts_unread=1)).action is action
    assert rules.decide(assessment(0.1)).action is Action.ALLOW
    assert rules.decide(assessment(0.1, images_unread=1)).action is Action.REVIEW
    assert rules.decide(assessment(0.9, parts_unread=1)).found is Action.REWRITE


def test_unread_parts_are_reviewed_where_nothing_is_said() -> None:
    assert policy().decide(assessment(0.1, parts_unread=1)).action is Action.REVIEW


def test_unread_parts_are_minded_also_where_the_detector_failed() -> None:
    rules = policy(on_failure=Action.ALLOW)
    assert rules.decide_without_assessment([]).action is Action.ALLOW
    assert rules.decide_without_assessment([], has_unread_parts=True).action is Action.REVIEW


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
