"""What a rewrite keeps is read again: by itself, without the policy's own sentences, and by a second detector."""

from collections.abc import Sequence
from typing import Any

import pytest

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fakes import FakeDetoxifier
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.verdict import RewriteMethod, Verdict
from tests.builders import SAFE_TEXT, assessment, event, policy, rule
from tests.protector_models.moderation.rig import Rig, build_rig, verdicts

INSULT = "You are harm=0.9 category=harassment and everybody knows it."
BREAD = "Then bake the bread for an hour."
MILD_THREAT = "It would be a pity harm=0.2 category=violence about the shed."
OMISSION = "(Left out.)"


class Objecting:
    """Objects to texts with a word. Implements `SecondOpinion`."""

    revision = "objecting@1"

    def __init__(self, word: str) -> None:
        self._word = word
        self.asked: list[str] = []

    async def find_objections(self, exchanges: Sequence[Exchange]) -> list[bool | None]:
        self.asked += [exchange.response for exchange in exchanges]
        return [self._word in exchange.response for exchange in exchanges]


class Silent(Objecting):
    """Can tell of nothing."""

    async def find_objections(self, exchanges: Sequence[Exchange]) -> list[bool | None]:
        return [None] * len(exchanges)


def _rules(*methods: str, **fields: Any) -> Policy:
    return policy(
        rewrite_methods={"default": [*methods, "complete"]},
        omissions={"default": OMISSION},
        **{"omit_up_to": 0.9, **fields},
    )


async def _moderate(rig: Rig, *sentences: str) -> Verdict:
    return verdicts(await rig.moderator.moderate([event(" ".join(sentences))]))[0]


async def test_beside_an_insult_in_a_short_answer_a_sentence_stays_only_if_the_detector_is_sure_of_it() -> None:
    verdict = await _moderate(build_rig(policy=_rules("omit")), INSULT, MILD_THREAT, BREAD)
    assert verdict.response == f"{OMISSION} {BREAD}"


@pytest.mark.parametrize(
    "others", [(INSULT.replace("harassment", "privacy"), MILD_THREAT), (INSULT, MILD_THREAT, *(BREAD,) * 4)]
)
async def test_beside_other_harm_or_in_a_long_answer_the_smaller_margin_holds(others: Sequence[str]) -> None:
    verdict = await _moderate(build_rig(policy=_rules("omit")), *others, BREAD)
    assert verdict.response is not None
    assert MILD_THREAT in verdict.response


@pytest.mark.parametrize(("margin", "is_kept"), [(0.0, True), (0.5, True), (0.61, False)])
async def test_the_policy_says_how_far_below_the_threshold_a_sentence_stays(margin: float, *, is_kept: bool) -> None:
    rules = _rules("omit", release_margin=margin, suspect_margin=0.0)
    verdict = await _moderate(build_rig(policy=rules), INSULT, MILD_THREAT, BREAD)
    assert verdict.response is not None
    assert (MILD_THREAT in verdict.response) is is_kept


async def test_where_too_little_is_left_after_doubtful_sentences_nothing_is_kept() -> None:
    verdict = await _moderate(build_rig(policy=_rules("omit", omit_up_to=0.7)), INSULT, MILD_THREAT, BREAD)
    assert (verdict.response, verdict.rewrite_refused_reason) == (SAFE_TEXT, "MostlyHarmful")


async def test_wording_is_not_edited_beside_a_sentence_that_may_be_a_threat() -> None:
    rig = build_rig(policy=_rules("edit"), detoxifier=FakeDetoxifier(lambda _: "Be kind."))
    verdict = await _moderate(rig, INSULT, MILD_THREAT, BREAD)
    assert (verdict.response, verdict.rewrite_refused_reason) == (SAFE_TEXT, "DoubtfulNeighbour")
    assert rig.detoxifier is not None
    assert rig.detoxifier.requested == []


async def test_a_sentence_that_is_a_threat_as_well_is_not_edited() -> None:
    both = "You harm=0.9 category=harassment category=violence will be sorry for it."
    rules = _rules("edit", "omit").model_copy(
        update={
            "rewrite_methods": {
                "default": (RewriteMethod.EDIT, RewriteMethod.OMIT, RewriteMethod.COMPLETE),
                "violence": (RewriteMethod.OMIT, RewriteMethod.COMPLETE),
            }
        }
    )
    rig = build_rig(policy=rules, detoxifier=FakeDetoxifier(lambda _: "You will see."))
    verdict = await _moderate(rig, both, BREAD, BREAD)
    assert (verdict.rewrite_method, verdict.rewrite_refused_reason) == (RewriteMethod.OMIT, "NotEditable")


@pytest.mark.parametrize("method", ["edit", "generate"])
async def test_of_what_a_model_wrote_each_sentence_is_read_by_itself(method: str) -> None:
    rig = build_rig(policy=_rules(method), detoxifier=FakeDetoxifier(lambda _: f"Be kind. {MILD_THREAT} {BREAD}"))
    verdict = await _moderate(rig, INSULT, BREAD)
    assert verdict.response == f"Be kind. {MILD_THREAT} {BREAD}"  # .2 keeps a margin of a half to .5
    rig = build_rig(policy=_rules(method, release_margin=0.7), detoxifier=FakeDetoxifier(lambda _: MILD_THREAT + BREAD))
    verdict = await _moderate(rig, INSULT, BREAD)
    assert (verdict.response, verdict.rewrite_refused_reason) == (SAFE_TEXT, "HarmfulSentence")


async def test_the_remainder_is_read_without_the_sentences_of_the_policy() -> None:
    rig = build_rig(policy=_rules("omit"))
    await _moderate(rig, BREAD, INSULT, BREAD)
    read = [exchange.response for exchange in rig.detector.assessed]
    assert f"{BREAD} {OMISSION} {BREAD}" in read
    assert f"{BREAD}\n{BREAD}" in read


async def test_nothing_is_kept_where_the_policy_says_so() -> None:
    rig = build_rig(policy=_rules("edit", "omit", deliver_partial=False), detoxifier=FakeDetoxifier())
    verdict = await _moderate(rig, INSULT, BREAD)
    assert (verdict.response, verdict.rewrite_refused_reason) == (SAFE_TEXT, None)


async def test_a_second_opinion_refuses_what_the_detector_lets_pass_and_is_counted() -> None:
    opinion = Objecting("bread")
    rig = build_rig(policy=_rules("omit"), second_opinion=opinion)
    verdict = await _moderate(rig, INSULT, BREAD)
    assert (verdict.response, verdict.rewrite_refused_reason) == (SAFE_TEXT, "SecondOpinion")
    assert verdict.model_revisions["second_opinion"] == "objecting@1"
    assert opinion.asked == [BREAD]
    assert rig.metrics.counts["weir_second_opinions_total", frozenset({("opinion", "object")})] == 1


async def test_a_second_opinion_that_cannot_tell_refuses_too_and_is_counted_apart() -> None:
    rig = build_rig(policy=_rules("omit"), second_opinion=Silent(""))
    verdict = await _moderate(rig, INSULT, BREAD)
    assert (verdict.response, verdict.rewrite_refused_reason) == (SAFE_TEXT, "NoSecondOpinion")
    assert rig.metrics.counts["weir_second_opinions_total", frozenset({("opinion", "none")})] == 1


async def test_beside_a_piece_stand_the_ends_of_a_long_question() -> None:
    rig = build_rig(policy=_rules("omit"))
    asked = "a" * 5_000 + "z" * 5_000
    await rig.moderator.moderate([event(f"{BREAD} {INSULT} {BREAD} Eat.", prompt=asked)])
    (question,) = {one.prompt for one in rig.detector.assessed if one.response == "Eat."} - {"", asked}
    assert (question.count("a"), question.count("z")) == (200, 200)


async def test_a_second_opinion_that_is_only_counted_delivers() -> None:
    rig = build_rig(policy=_rules("omit", on_second_opinion="deliver"), second_opinion=Objecting("bread"))
    verdict = await _moderate(rig, INSULT, BREAD)
    assert verdict.response == f"{OMISSION} {BREAD}"
    assert rig.metrics.counts["weir_second_opinions_total", frozenset({("opinion", "object")})] == 1


async def test_a_second_opinion_is_not_asked_about_the_policys_own_texts() -> None:
    opinion = Objecting("talk")
    rig = build_rig(policy=_rules(), second_opinion=opinion)
    verdict = await _moderate(rig, INSULT, BREAD)
    assert (verdict.response, opinion.asked) == (SAFE_TEXT, [])
    assert "second_opinion" not in verdict.model_revisions


async def test_the_texts_are_those_of_the_category_that_is_sure_or_that_a_rule_names() -> None:
    rules = policy(
        rules=[rule(), rule(0.95, category="self_harm")],
        rewrite_methods={"default": ["complete"]},
        safe_completions={"harassment": "To a person.", "hate": "To a group.", "self_harm": "A crisis line."},
    )
    rig = build_rig(policy=rules)
    nobody_knows = await _moderate(rig, "harm=0.9 category=harassment category=hate")
    sure = await _moderate(rig, "harm=0.9 category=hate")
    ruled = await _moderate(rig, "harm=0.96 category=hate category=self_harm")
    assert [one.response for one in (nobody_knows, sure, ruled)] == [SAFE_TEXT, "To a group.", "A crisis line."]


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        ({"hate": 0.5}, "hate"),
        ({"hate": 0.5, "harassment": 0.5}, "hate"),
        ({"hate": 0.3, "harassment": 0.2}, "hate"),
        ({"hate": 0.3, "harassment": 0.25}, None),
        ({"hate": 0.2, "harassment": 0.1}, None),
        ({}, "hate"),
    ],
)
def test_the_text_is_that_of_a_category_that_is_sure(scores: dict[str, float], text: str | None) -> None:
    assert policy().text_category("hate", assessment(0.9, categories=scores)) == text
