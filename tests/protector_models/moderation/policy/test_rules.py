"""Rules turn an assessment into a decision: the most severe action that some rule asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.policy.rules import Decision, Rule
from protector_models.moderation.verdict import Action
from tests.builders import SAFE_TEXT, assessment, policy, rule

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


@pytest.mark.parametrize("categories", [{}, {"hate": 0.0}, {"hate": 0.0, "abuse": 0.0}, {"hate": 0.4, "abuse": 0.4}])
def test_harm_of_no_category_that_scores_more_than_others_is_unspecified(categories: dict[str, float]) -> None:
    rules = policy(safe_completions={"abuse": "No abuse.", "hate": "No hate."})
    category = rules.decide(assessment(0.9, categories=categories)).category
    assert category == "unspecified"
    assert rules.safe_completion(category) == SAFE_TEXT
    assert rules.decide(assessment(0.1, categories=categories)).category is None


@given(assessments, scores)
def test_a_rule_over_unspecified_looks_at_the_harmfulness_where_no_category_stands_for_it(
    score: Assessment, threshold: float
) -> None:
    decision = policy(rules=[rule(threshold, category="unspecified")]).decide(score)
    looked_at = score.harmfulness if score.top_category() == "unspecified" else 0.0
    assert (decision.found is Action.REWRITE) == (looked_at >= threshold)
    assert decision.category == ("unspecified" if decision.found is Action.REWRITE else None)


@given(assessments, st.floats(0.01, 1))
def test_rules_over_every_category_and_unspecified_miss_no_harm_that_no_category_scores(
    score: Assessment, threshold: float
) -> None:
    drawn = [rule(threshold, category=name) for name in ("hate", "weapons", "other", "unspecified")]
    scoreless = score.model_copy(update={"categories": dict.fromkeys(score.categories, 0.0)})
    by_any = policy(rules=[rule(threshold)]).decide(scoreless)
    assert policy(rules=drawn).decide(scoreless) == by_any


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


@given(st.lists(rules, min_size=1, max_size=5), assessments, st.floats(0, 0.99), st.floats(0, 0.99))
def test_what_is_clear_is_not_found_and_stays_so_with_a_smaller_margin(
    drawn: list[Rule], score: Assessment, one: float, other: float
) -> None:
    made = policy(rules=drawn)
    if made.is_clear(score, max(one, other)):
        assert made.is_clear(score, min(one, other))
        assert made.decide(score).found is Action.ALLOW
    assert made.is_clear(score, 0.0) is (made.decide(score).found is Action.ALLOW)
