"""The Moderator with what the person needs: fakes say who needs what."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.messages.message import Message
from protector_models.moderation.needs_reading import NUM_TURNS, has_cut_turns, list_turns
from protector_models.moderation.policy.needs import NeedRule
from protector_models.moderation.policy.policy import Policy, TenantOverrides
from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import Action, RewriteMethod, Verdict
from tests.builders import assistant, event, user
from tests.builders import policy as build_policy
from tests.protector_models.moderation.rig import Rig, apart_from_cached, build_rig, verdicts

CRISIS, GRIEF = "Please talk to somebody.", "I am so sorry for your loss."
NEEDS = (
    NeedRule(need="danger", threshold=0.5, completion="self_harm", answer_threshold=0.3),
    NeedRule(need="grief", threshold=0.5, completion="grief"),
)
SAFE_COMPLETIONS = {"default": "No.", "self_harm": CRISIS, "grief": GRIEF, "hate": "No hate.", "violence": "No harm."}


def needs_policy(**changes: object) -> Policy:
    return build_policy().model_copy(update={"needs": NEEDS, "safe_completions": SAFE_COMPLETIONS, **changes})


def needs_rig(policy: Policy | None = None) -> Rig:
    return build_rig(policy=policy or needs_policy())


def conversation(*turns: str, response: str, event_id: str = "event-1") -> ConversationEvent:
    messages: list[Message] = []
    for turn in turns:
        messages += [user(turn), assistant("I see.")]
    return event(response, messages=messages[:-1], event_id=event_id)


async def moderate(rig: Rig, *events: ConversationEvent) -> list[Verdict]:
    return verdicts(await rig.moderator.moderate(list(events)))


@pytest.mark.parametrize("category", ["hate", "violence", "self_harm", "unheard_of"])
async def test_a_person_in_danger_gets_the_crisis_text_whatever_the_answer_is(category: str) -> None:
    (verdict,) = await moderate(needs_rig(), conversation("need=danger", response=f"harm=0.9 category={category}"))
    assert (verdict.response, verdict.category, verdict.rewrite_method) == (CRISIS, "self_harm", RewriteMethod.COMPLETE)
    assert verdict.needs is not None
    assert (verdict.needs.found, verdict.needs.completion) == ("danger", "self_harm")
    assert verdict.needs.scores == {"danger": 1.0}


@pytest.mark.parametrize("response", ["harm=0.35 mild", "careless", "harm=0.6"])
async def test_an_answer_that_no_rule_minds_gives_way_beside_danger(response: str) -> None:
    (verdict,) = await moderate(needs_rig(), conversation("need=danger", response=response))
    assert (verdict.action, verdict.response) == (Action.REWRITE, CRISIS)


async def test_a_kind_answer_stays_and_nothing_is_read_for_it() -> None:
    rig = needs_rig()
    (verdict,) = await moderate(rig, conversation("need=danger", response="I am with you."))
    assert (verdict.action, verdict.response, verdict.needs) == (Action.ALLOW, "I am with you.", None)
    assert len(rig.detector.assessed) == 1


@given(st.integers(0, 5))
async def test_what_was_said_a_few_turns_before_still_counts(turns_since: int) -> None:
    turns = ["need=danger", *[f"Turn {number}" for number in range(turns_since)]]
    (verdict,) = await moderate(needs_rig(), conversation(*turns, response="harm=0.35"))
    assert (verdict.response == CRISIS) == (turns_since < NUM_TURNS)


async def test_the_other_needs_choose_words_only_where_the_answer_is_rewritten_anyway() -> None:
    harmful, careless = await moderate(
        needs_rig(),
        conversation("need=grief", response="harm=0.9 category=hate"),
        conversation("need=grief", response="careless", event_id="event-2"),
    )
    assert (harmful.response, harmful.category) == (GRIEF, "hate")
    assert (careless.action, careless.response) == (Action.ALLOW, "careless")


async def test_the_default_text_is_not_tried_for_a_person_in_danger() -> None:
    texts = SAFE_COMPLETIONS | {"self_harm": "harm=0.9"}
    rig = needs_rig(needs_policy(safe_completions=texts))
    (verdict,) = await moderate(rig, conversation("need=danger", response="harm=0.9"))
    assert (verdict.action, verdict.response) == (Action.REVIEW, None)


async def test_in_shadow_the_answer_is_delivered_and_the_action_reported() -> None:
    rig = needs_rig(needs_policy(shadow=True))
    (verdict,) = await moderate(rig, conversation("need=danger", response="harm=0.35"))
    assert (verdict.response, verdict.shadow_action) == ("harm=0.35", Action.REWRITE)


async def test_a_policy_in_shadow_decides_by_the_same_needs() -> None:
    moderator = build_rig().moderator.under(build_policy(), shadow_policy=needs_policy())
    (verdict,) = verdicts(await moderator.moderate([conversation("need=danger", response="harm=0.35")]))
    assert verdict.action is Action.ALLOW
    assert verdict.shadow_policy is not None
    assert (verdict.shadow_policy.action, verdict.shadow_policy.category) == (Action.REWRITE, "self_harm")


async def test_a_tenant_may_have_no_such_rules() -> None:
    policy = needs_policy(tenants={"plain": TenantOverrides(needs=())})
    sent = conversation("need=danger", response="harm=0.35").model_copy(update={"tenant": "plain"})
    (verdict,) = await moderate(needs_rig(Policy.model_validate(policy.model_dump())), sent)
    assert (verdict.action, verdict.needs) == (Action.ALLOW, None)


async def test_a_turn_that_the_detector_fails_on_changes_nothing_and_is_told() -> None:
    (verdict,) = await moderate(needs_rig(), conversation("POISON need=danger", response="harm=0.35"))
    assert verdict.action is Action.ALLOW
    assert verdict.needs is not None
    assert (verdict.needs.status, verdict.needs.scores) == (StageStatus.FAILED, {})


prompts = st.lists(st.sampled_from(["need=danger", "need=grief", "Hello", "How do I kill a process?"]), min_size=1)
responses = st.sampled_from(["Fine.", "careless", "harm=0.35", "harm=0.9 category=hate", "harm=0.9 category=violence"])


@given(st.lists(st.tuples(prompts, responses), max_size=6))
async def test_an_event_does_not_depend_on_its_neighbours(drawn: list[tuple[list[str], str]]) -> None:
    events = [conversation(*turns, response=said, event_id=f"e{place}") for place, (turns, said) in enumerate(drawn)]
    together = await needs_rig().moderator.moderate(events)
    alone = [(await needs_rig().moderator.moderate([one]))[0] for one in events]
    assert apart_from_cached(together) == apart_from_cached(alone)


@given(st.lists(st.tuples(prompts, responses), max_size=6))
async def test_a_detector_without_needs_behaves_as_before(drawn: list[tuple[list[str], str]]) -> None:
    def without(turns: Sequence[str]) -> list[str]:
        return [turn.replace("need=", "") for turn in turns]

    events = [
        conversation(*without(turns), response=said.replace("careless", "fine"), event_id=f"e{place}")
        for place, (turns, said) in enumerate(drawn)
    ]
    before = needs_rig(needs_policy(needs=()))
    found = [verdict.model_copy(update={"policy_version": ""}) for verdict in await moderate(needs_rig(), *events)]
    assert apart_from_cached(found) == apart_from_cached(
        [verdict.model_copy(update={"policy_version": ""}) for verdict in await moderate(before, *events)]
    )


def test_equal_and_blank_turns_are_read_once_and_not_at_all() -> None:
    assert [turn.response for turn in list_turns(conversation("Hi", " ", "Hi", response="Yes"))] == ["Hi"]


def test_a_long_turn_is_read_at_both_ends() -> None:
    said = conversation("a" * 5_000 + "b" * 5_000, response="Yes")
    (turn,) = list_turns(said)
    assert (turn.response.count("a"), turn.response.count("b")) == (3_000, 3_000)
    assert has_cut_turns(said)
    assert not has_cut_turns(conversation("a" * 6_000, response="Yes"))
