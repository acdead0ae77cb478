import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protector_models.moderation.policy.needs import NeedRule, choose_completion, decide_for_person, may_matter
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.policy.rules import Decision
from protector_models.moderation.verdict import Action
from protector_models.policies.policy_file import load_policy
from tests.builders import assessment

DANGER = NeedRule(need="danger", threshold=0.5, completion="self_harm", answer_threshold=0.4)
GRIEF = NeedRule(need="grief", threshold=0.5, completion="grief")
RULES = (DANGER, GRIEF)

scores = st.floats(0.0, 1.0)
categories = st.sampled_from(["hate", "violence", "self_harm", "illicit", "unspecified", "grief"])


def decided(action: Action, category: str | None = "hate") -> Decision:
    return Decision(action=action, found=action, category=None if action is Action.ALLOW else category)


@given(categories, scores, scores)
def test_a_person_in_danger_never_gets_the_text_of_another_category(
    category: str, harmfulness: float, grief: float
) -> None:
    needs = {"danger": 0.9, "grief": grief}
    decision = decide_for_person(RULES, decided(Action.REWRITE, category), assessment(harmfulness), needs)
    assert (decision.completion, decision.category, decision.only_completes) == ("self_harm", "self_harm", True)


@given(scores)
def test_a_kind_answer_to_a_person_in_danger_stays_and_a_harmful_one_does_not(harmfulness: float) -> None:
    decision = decide_for_person(RULES, decided(Action.ALLOW), assessment(harmfulness), {"danger": 0.9})
    assert decision.action is (Action.REWRITE if harmfulness >= 0.4 else Action.ALLOW)


def test_a_careless_answer_to_a_person_in_danger_gives_way() -> None:
    careless = assessment(0.01).model_copy(update={"carelessness": 0.9})
    assert decide_for_person(RULES, decided(Action.ALLOW), careless, {"danger": 0.9}).completion == "self_harm"
    assert decide_for_person(RULES, decided(Action.ALLOW), careless, {"danger": 0.4}) == decided(Action.ALLOW)


@given(st.sampled_from([Action.ALLOW, Action.REVIEW, Action.REWRITE]), categories, scores)
def test_without_needs_nothing_changes(action: Action, category: str, harmfulness: float) -> None:
    decision = decided(action, category)
    assert decide_for_person(RULES, decision, assessment(harmfulness), {}) == decision
    assert decide_for_person((), decision, assessment(harmfulness), {"danger": 1.0, "grief": 1.0}) == decision


@given(st.sampled_from(list(Action)), categories, scores, st.dictionaries(st.sampled_from(["danger", "grief"]), scores))
def test_nothing_becomes_milder(action: Action, category: str, harmfulness: float, needs: dict[str, float]) -> None:
    severities = list(Action)
    after = decide_for_person(RULES, decided(action, category), assessment(harmfulness), needs)
    assert severities.index(after.action) >= severities.index(action)


@given(scores, scores, st.sampled_from(list(Action)), st.dictionaries(st.sampled_from(["danger", "grief"]), scores))
def test_what_is_not_read_could_change_nothing(
    harmfulness: float, carelessness: float, action: Action, needs: dict[str, float]
) -> None:
    found = assessment(harmfulness).model_copy(update={"carelessness": carelessness})
    decision = decided(action)
    if action is not Action.REVIEW and not may_matter(RULES, decision, found):
        assert decide_for_person(RULES, decision, found, needs) == decision


@given(scores)
def test_another_need_only_chooses_the_text_of_what_is_rewritten_anyway(harmfulness: float) -> None:
    needs = {"grief": 0.9}
    assert decide_for_person(RULES, decided(Action.ALLOW), assessment(harmfulness), needs).action is Action.ALLOW
    rewritten = decide_for_person(RULES, decided(Action.REWRITE), assessment(harmfulness), needs)
    assert (rewritten.category, rewritten.completion, rewritten.only_completes) == ("hate", "grief", False)


def test_encouragement_to_self_harm_is_answered_by_no_other_words() -> None:
    decision = decided(Action.REWRITE, "self_harm")
    assert decide_for_person(RULES, decision, assessment(0.9), {"grief": 1.0}) == decision
    assert choose_completion(RULES, "self_harm", {"grief": 1.0}) == "self_harm"


def test_what_is_blocked_stays_blocked_and_what_waits_for_review_is_withheld() -> None:
    needs = {"danger": 1.0}
    assert decide_for_person(RULES, decided(Action.BLOCK), assessment(0.9), needs) == decided(Action.BLOCK)
    waiting = decide_for_person(RULES, decided(Action.REVIEW), assessment(0.9), needs)
    assert waiting.action is Action.REVIEW
    assert waiting.withheld


def test_a_request_that_says_needs_itself_chooses_its_text() -> None:
    assert choose_completion(RULES, "violence", {"danger": 0.9}) == "self_harm"
    assert choose_completion(RULES, "violence", {"danger": 0.1}) == "violence"


def test_a_rule_without_its_text_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected a completion among"):
        Policy.model_validate(
            {
                "version": "x",
                "rules": [{"threshold": 0.5, "action": "rewrite"}],
                "safe_completions": {"default": "No."},
                "needs": [{"need": "danger", "threshold": 0.5, "completion": "self_harm"}],
            }
        )


def test_a_policy_that_says_nothing_of_needs_keeps_its_revision() -> None:
    base = {
        "version": "x",
        "rules": [{"threshold": 0.5, "action": "rewrite"}],
        "safe_completions": {"default": "No.", "self_harm": "Talk to us."},
    }
    plain = Policy.model_validate(base)
    assert plain.revision == Policy.model_validate({**base, "needs": []}).revision
    needs = [{"need": "danger", "threshold": 0.5, "completion": "self_harm"}]
    assert plain.revision != Policy.model_validate({**base, "needs": needs}).revision


@pytest.mark.parametrize("completion", ["self_harm", "abuse", "grief", "eating_disorder"])
def test_the_default_policy_has_words_of_their_own_in_every_language(completion: str) -> None:
    policy = load_policy(None)
    texts = {policy.safe_completion(completion, language) for language in ("en", "de", "fr", "es")}
    assert len(texts) == 4
    assert completion in {rule.completion for rule in policy.needs}
    assert not any("{" in text for text in texts)
